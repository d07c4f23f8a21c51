//! Ports: bound before anything slow happens, so that a port that is taken is known at once.

use std::io;
use std::net::SocketAddr;

use anyhow::Context;
use axum::serve::ListenerExt;
use futures::{FutureExt, Stream, stream};
use tokio::net::{TcpListener, TcpStream};

use crate::drain::{self, Stop};

/// The ports of a process.
pub struct Listeners {
    /// For clients or routers.
    pub main: TcpListener,
    /// For probes and scrapes; `None` where nobody asked for it.
    pub admin: Option<TcpListener>,
}

/// Binds both ports.
pub async fn both(main: SocketAddr, admin: Option<SocketAddr>) -> anyhow::Result<Listeners> {
    let main = bind(main, "--listen").await?;
    let admin = match admin {
        Some(address) => Some(bind(address, "--admin-listen").await?),
        None => None,
    };
    Ok(Listeners { main, admin })
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| {
        format!("cannot listen on {address}; is it in use? choose another with {flag}")
    })
}

/// Serves routes on a port until told to stop; at once done where there is no port.
pub async fn serve(
    listener: Option<TcpListener>,
    app: axum::Router,
    name: &str,
    stop: Stop,
) -> anyhow::Result<()> {
    let Some(listener) = listener else { return Ok(()) };
    // Answers are small and awaited: never hold one back to fill a packet.
    let listener = listener.tap_io(|stream| no_delay(stream));
    let server = axum::serve(listener, app).with_graceful_shutdown(stop.clone().wait());
    drain::bounded(name, stop, async move { server.await }).await
}

/// Connections until told to stop, and then those that the system had already accepted for us: a caller may have sent
/// a request on one of them, and to drop it would leave the caller in doubt about what became of it.
pub fn connections(listener: TcpListener, stop: Stop) -> impl Stream<Item = io::Result<TcpStream>> {
    stream::unfold((listener, stop), |(listener, stop)| async move {
        let accepted = if stop.is_set() {
            listener.accept().now_or_never()?
        } else {
            tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.clone().wait() => listener.accept().now_or_never()?,
            }
        };
        let stream = accepted.map(|(stream, _)| {
            no_delay(&stream);
            stream
        });
        Some((stream, (listener, stop)))
    })
}

fn no_delay(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection without nodelay");
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn connections_made_before_the_stop_are_served_and_later_ones_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stopper, stop) = drain::manual();
        let mut early = Vec::new();
        for _ in 0..5 {
            early.push(TcpStream::connect(address).await.unwrap());
        }
        stopper.stop();
        let served = Box::pin(connections(listener, stop)).count().await;
        assert_eq!(served, early.len());
        assert!(TcpStream::connect(address).await.is_err());
    }
}
