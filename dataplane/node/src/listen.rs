//! Ports: bound before anything slow happens, so that a port that is taken is known at once.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

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

/// Binds a port. `[::]`, which is every address of both families, is every IPv4 address where there is no IPv6.
async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    let bound = match TcpListener::bind(address).await {
        Err(error) if is_without_family(address, &error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    bound.with_context(|| {
        format!("cannot listen on {address}; is it in use? choose another with {flag}")
    })
}

/// Whether every address was asked for and the machine has none of the family. A port in use is in use by either.
fn is_without_family(address: SocketAddr, error: &io::Error) -> bool {
    let other = [io::ErrorKind::AddrInUse, io::ErrorKind::PermissionDenied].contains(&error.kind());
    address.is_ipv6() && address.ip().is_unspecified() && !other
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
    use std::net::Ipv6Addr;

    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn every_address_answers_on_ipv4_and_where_there_is_ipv6_on_that() {
        let every = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let listener = bind(every, "--listen").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap();
        }
        let taken = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        assert!(bind(taken, "--listen").await.unwrap_err().to_string().contains("in use"));
    }

    #[test]
    fn only_a_missing_family_is_made_up_for() {
        let every = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 1));
        let missing = io::Error::from_raw_os_error(97); // EAFNOSUPPORT
        assert!(is_without_family(every, &missing));
        assert!(!is_without_family(every, &io::ErrorKind::AddrInUse.into()));
        for asked in ["[::1]:1", "0.0.0.0:1", "127.0.0.1:1"] {
            assert!(!is_without_family(asked.parse().unwrap(), &missing), "{asked}");
        }
    }

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
