//! How a process ends: asked by SIGTERM or SIGINT it stops accepting, lets requests finish for a bounded time, and only
//! then closes its shards.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long requests in flight may take to finish. Less than the 30 s after which Kubernetes kills by default, so that
/// shards are closed in time.
pub const DRAIN: Duration = Duration::from_secs(20);

/// Tells everyone that the process is stopping.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// Makes the process stop.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// A stop that [`Stopper::stop`] sets off.
pub fn manual() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Stop now.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// A stop that SIGTERM or SIGINT sets off.
pub fn on_signals() -> std::io::Result<Stop> {
    let (stopper, stop) = manual();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("stopping: no new requests; those in flight may finish");
        stopper.stop();
    });
    Ok(stop)
}

impl Stop {
    /// Whether the process is stopping.
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the process is stopping.
    pub async fn wait(mut self) {
        // An error means that nobody is left to say stop: whoever waits would wait forever, so stop.
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }
}

/// Runs a server that ends by itself some time after `stop`; cuts it off when it takes longer than [`DRAIN`].
pub async fn bounded<E: std::fmt::Display>(
    name: &str,
    stop: Stop,
    server: impl Future<Output = Result<(), E>>,
) -> anyhow::Result<()> {
    let cut_off = async {
        stop.wait().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server => ended.map_err(|error| anyhow::anyhow!("the {name} server failed: {error}")),
        () = cut_off => {
            tracing::warn!(server = name, "requests were still in flight after {DRAIN:?} and are cut off");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_ends_is_cut_off_after_the_drain() {
        let (stopper, stop) = manual();
        let server = bounded("test", stop.clone(), std::future::pending::<Result<(), String>>());
        let started = tokio::time::Instant::now();
        stopper.stop();
        server.await.unwrap();
        assert_eq!(started.elapsed(), DRAIN);
        assert!(stop.is_set());
    }

    #[tokio::test]
    async fn a_server_that_fails_says_which_it_was() {
        let (_stopper, stop) = manual();
        let error = bounded("admin", stop, async { Err("no port") }).await.unwrap_err();
        assert_eq!(error.to_string(), "the admin server failed: no port");
    }
}
