//! The real binary as child processes, and what tests need to ask of them.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod replica;
pub mod three;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A token that all processes of a test share.
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// An address of the loopback that nobody has now.
pub fn free_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], shoal_e2e::ports::free_port()))
}

/// A running `shoal`; killed when dropped.
pub struct Shoal {
    child: Child,
    log: PathBuf,
}

impl Shoal {
    /// Starts `shoal` with these arguments; its log goes to a file, shown when something fails.
    pub fn start(args: &[&str], log: &Path) -> Self {
        let stderr = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_shoal"))
            .args(args)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        Self { child, log: log.to_owned() }
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal, such as SIGSTOP.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let start = Instant::now();
        while start.elapsed() < patience {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end; its log:\n{}", self.log());
    }

    /// Fails, with the log, if it has ended.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("it ended with {status}; its log:\n{}", self.log());
        }
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Shoal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `http://{address}/readyz` says 200.
pub async fn until_ready(shoal: &mut Shoal, address: SocketAddr) {
    let start = Instant::now();
    while status_of(&format!("http://{address}/readyz")).await != Some(200) {
        shoal.assert_running();
        assert!(start.elapsed() < Duration::from_secs(60), "not ready; its log:\n{}", shoal.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Status of a GET, if there was an answer.
pub async fn status_of(url: &str) -> Option<u16> {
    reqwest::get(url).await.ok().map(|answer| answer.status().as_u16())
}
