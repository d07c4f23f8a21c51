//! Clients on a node: what they ask goes out from there, also while the node is cut off from all others.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow};
use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Work that runs inside a node's network namespace, on a thread of its own.
pub struct Inside {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<()>>,
}

impl Inside {
    /// Starts it on a node of our own cluster; it ends soon after what it is given says so.
    pub fn start<F: Future<Output = ()>>(
        node: &str,
        work: impl FnOnce(Arc<AtomicBool>) -> F + Send + 'static,
    ) -> Self {
        let path = PathBuf::from(format!("/run/netns/shoal-{node}"));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let namespace =
                std::fs::File::open(&path).with_context(|| path.display().to_string())?;
            // Of this thread alone, which ends with the work.
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(work(stopped));
            Ok(())
        });
        Self { stop, thread }
    }

    /// Lets it end.
    pub async fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await?;
        joined.map_err(|_| anyhow!("the work on the node panicked"))?
    }
}
