//! The processes of one shard, each with a disk, an address and a log of its own, and all that can be done to them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal};

use crate::common::{TOKEN, free_port};
use crate::disk::{Disk, Syncs};

pub(crate) const COLLECTION: &str = "chaos";
pub(crate) const SHARD: &str = "chaos-0";
/// One small vector: what is tried here is not search.
const VECTORS: &str = r#"[{"name":"","size":2,"distance":"Euclid"}]"#;
/// Few enough that segments are made and the log is trimmed all the time.
pub(crate) const FLUSH_POINTS: u64 = 100;
/// Bytes up to which a file may be written on a full disk: what fits a block that is there already, no log.
const FULL_DISK: u64 = 4 << 10;

/// How the replicas of a shard find each other.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    pub(crate) register: PathBuf,
    pub(crate) budget: &'static str,
    /// Name of each, in order.
    pub(crate) names: Vec<String>,
    /// Where this one reaches each of the others: (name, address of a line to it).
    pub(crate) reached_at: Vec<(String, SocketAddr)>,
}

/// One replica: a process, or the place of one that was killed.
pub(crate) struct Replica {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    folder: PathBuf,
    peers: Option<Peers>,
    child: Option<Child>,
    paused: bool,
    disk: Option<Disk>,
}

impl Replica {
    /// The replica at this position, not started yet.
    pub(crate) fn new(root: &Path, index: usize) -> Self {
        let (mut address, mut admin) = (free_port(), free_port());
        let host = [127, 0, 0, 1 + index as u8];
        address.set_ip(host.into());
        admin.set_ip(host.into());
        let name = format!("r{index}");
        let folder = root.to_owned();
        Self { name, address, admin, folder, peers: None, child: None, paused: false, disk: None }
    }

    pub(crate) fn set_peers(&mut self, peers: Peers) {
        self.peers = Some(peers);
    }

    fn data(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    /// The flags it is started with.
    fn args(&self) -> Vec<String> {
        let mut args = vec!["shard".to_owned()];
        let mut flag =
            |name: &str, value: &str| args.extend([format!("--{name}"), value.to_owned()]);
        flag("data", &self.data().to_string_lossy());
        flag("listen", &self.address.to_string());
        flag("admin-listen", &self.admin.to_string());
        flag("collection", COLLECTION);
        flag("shard", SHARD);
        flag("vectors", VECTORS);
        flag("flush-points", &FLUSH_POINTS.to_string());
        flag("token-file", &self.folder.join("token").to_string_lossy());
        if let Some(peers) = &self.peers {
            flag("replica", &self.name);
            flag("replicas", &peers.names.join(","));
            flag("register", &peers.register.to_string_lossy());
            flag("advertise", &self.address.to_string());
            flag("failover-budget", peers.budget);
            // So that it meets the faults.
            flag("compare-every", "2s");
            for (name, address) in &peers.reached_at {
                flag("peer-address", &format!("{name}={address}"));
            }
        }
        args
    }

    /// Starts it, if it does not run.
    pub(crate) fn start(&mut self) {
        if self.child.is_some() {
            return;
        }
        // A write beyond a limit on files is an error then, as on a disk that is full, and no signal that kills.
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#, env!("CARGO_BIN_EXE_shoal")])
            .args(self.args())
            .env_clear()
            .env("RUST_BACKTRACE", "1")
            .env("SHOAL_LOG", "info,shoal_node::replica=debug")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let disk = Disk::prepare(&mut command);
        let mut child = command.spawn().unwrap();
        self.disk = Some(disk.disk(Syncs::Work));
        // Its log goes through here, since the limit would hold for that file too.
        let mut said = child.stderr.take().unwrap();
        let mut log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        std::thread::spawn(move || std::io::copy(&mut said, &mut log));
        self.child = Some(child);
        self.paused = false;
    }

    /// SIGKILL, if it runs.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGSTOP.
    pub(crate) fn pause(&mut self) {
        self.signal(Signal::STOP);
        self.paused = true;
    }

    /// SIGCONT, if it was paused.
    pub(crate) fn resume(&mut self) {
        if std::mem::take(&mut self.paused) {
            self.signal(Signal::CONT);
        }
    }

    /// Lets no file of it grow, or lets them again.
    pub(crate) fn disk_full(&self, full: bool) {
        let Some(child) = &self.child else { return };
        let current = full.then_some(FULL_DISK);
        let limit = Rlimit { current, maximum: None };
        rustix::process::prlimit(Some(Pid::from_child(child)), Resource::Fsize, limit).unwrap();
    }

    /// What its syncs meet, for as long as this process runs.
    pub(crate) fn syncs(&self, syncs: Syncs) {
        self.disk.iter().for_each(|disk| disk.set(syncs));
    }

    /// Whether it ended by itself, as it must where a sync fails; it can be started again then.
    pub(crate) fn gave_up(&mut self) -> bool {
        let ended = self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some());
        if ended {
            self.kill();
        }
        ended
    }

    /// Removes its disk; it must not run.
    pub(crate) fn wipe(&self) {
        assert!(self.child.is_none());
        std::fs::remove_dir_all(self.data()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            rustix::process::kill_process(Pid::from_child(child), signal).unwrap();
        }
    }

    /// Why it ended, where it did so by itself.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().unwrap()?;
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let end = log.lines().rev().take(20).collect::<Vec<_>>();
        let end = end.into_iter().rev().collect::<Vec<_>>().join("\n");
        Some(format!("{} ended by itself with {status}; the end of its log:\n{end}", self.name))
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A folder for all processes, with their token in it.
pub(crate) fn folder(path: &Path) {
    let _ = std::fs::remove_dir_all(path);
    std::fs::create_dir_all(path).unwrap();
    std::fs::write(path.join("token"), format!("{TOKEN}\n")).unwrap();
}
