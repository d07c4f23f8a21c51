//! Bad days, done to the test cluster that `e2e/cluster` starts, and looks behind its scenes.
//!
//! Why scripts: a fault is a signal, a cgroup file, or a network link, and a person wants the same ones by hand
//! (`e2e/cluster/fault.sh`). Invariant: they exist only for that cluster; on any other there is no [`Faults`].

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::{Child, Command};

/// Faults one can make; only on our own cluster.
#[derive(Clone, Debug)]
pub struct Faults {
    scripts: PathBuf,
}

/// What a pod's processes use.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Resident memory.
    pub resident_bytes: u64,
    /// Processor time since the processes started.
    pub cpu: Duration,
}

/// While there is one, the API server answers slowly.
#[derive(Debug)]
pub struct SlowApi {
    /// Ends once its input does.
    script: Child,
}

impl SlowApi {
    /// It answers as ever again. An error if it did not answer slowly all the time.
    pub async fn end(mut self) -> Result<()> {
        let ended = self.script.try_wait()?;
        ensure!(ended.is_none(), "fault.sh api-slow ended by itself: {ended:?}");
        // Its input ends with that.
        let status = self.script.wait().await?;
        ensure!(status.success(), "fault.sh api-slow: {status}");
        Ok(())
    }
}

impl Faults {
    /// Faults of the cluster this program runs inside of, if it is ours (`e2e/cluster/run` says so).
    pub fn of_own_cluster() -> Option<Self> {
        std::env::var_os("SHOAL_OWN_CLUSTER").map(|scripts| Self { scripts: scripts.into() })
    }

    async fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(self.scripts.join("fault.sh"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .await
            .context("starting fault.sh")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "fault.sh {}: {said}", arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Every process of a node dies at once; its disk stays.
    pub async fn kill_node(&self, node: &str) -> Result<()> {
        self.run(&["node-kill", node]).await.map(drop)
    }

    /// The node boots again.
    pub async fn start_node(&self, node: &str) -> Result<()> {
        self.run(&["node-start", node]).await.map(drop)
    }

    /// The node's network cable is pulled; its pods run on.
    pub async fn cut_node(&self, node: &str) -> Result<()> {
        self.run(&["node-cut", node]).await.map(drop)
    }

    /// And plugged in again.
    pub async fn join_node(&self, node: &str) -> Result<()> {
        self.run(&["node-join", node]).await.map(drop)
    }

    /// `kill -9` of all the pod's processes; the kubelet starts them again.
    pub async fn kill_pod(&self, namespace: &str, pod: &str) -> Result<()> {
        self.run(&["pod-kill", namespace, pod]).await.map(drop)
    }

    /// The pod's processes stop where they are, sockets open.
    pub async fn freeze_pod(&self, namespace: &str, pod: &str) -> Result<()> {
        self.run(&["pod-freeze", namespace, pod]).await.map(drop)
    }

    /// They go on.
    pub async fn thaw_pod(&self, namespace: &str, pod: &str) -> Result<()> {
        self.run(&["pod-thaw", namespace, pod]).await.map(drop)
    }

    /// The API server stops answering.
    pub async fn pause_api(&self) -> Result<()> {
        self.run(&["api-pause"]).await.map(drop)
    }

    /// It answers again.
    pub async fn resume_api(&self) -> Result<()> {
        self.run(&["api-resume"]).await.map(drop)
    }

    /// Its answers take up to 400 ms longer until what is returned is ended or dropped.
    pub fn slow_api(&self) -> Result<SlowApi> {
        let mut script = Command::new(self.scripts.join("fault.sh"));
        script.arg("api-slow").stdin(Stdio::piped());
        Ok(SlowApi { script: script.spawn().context("starting fault.sh")? })
    }

    /// A backup of all objects of the cluster.
    pub async fn save_etcd(&self, name: &str) -> Result<()> {
        self.run(&["etcd-save", name]).await.map(drop)
    }

    /// All objects are what they were at that backup.
    pub async fn restore_etcd(&self, name: &str) -> Result<()> {
        self.run(&["etcd-restore", name]).await.map(drop)
    }

    /// Gives an image another name, on every node.
    pub async fn tag_image(&self, image: &str, name: &str) -> Result<()> {
        self.run(&["image-tag", image, name]).await.map(drop)
    }

    /// Mounts a small disk on a node and returns its path there.
    pub async fn make_disk(&self, node: &str, name: &str, mebibytes: u32) -> Result<String> {
        self.run(&["disk-make", node, name, &mebibytes.to_string()]).await
    }

    /// Removes it.
    pub async fn free_disk(&self, node: &str, name: &str) -> Result<()> {
        self.run(&["disk-free", node, name]).await.map(drop)
    }

    /// Memory and processor time of a pod's processes.
    pub async fn usage(&self, namespace: &str, pod: &str) -> Result<Usage> {
        let text = self.run(&["pod-usage", namespace, pod]).await?;
        let (resident, cpu) = text.split_once(' ').context("fault.sh pod-usage printed no pair")?;
        Ok(Usage { resident_bytes: resident.parse()?, cpu: Duration::from_millis(cpu.parse()?) })
    }

    /// The API server's audit log, oldest line first.
    pub fn audit_log(&self) -> Result<String> {
        let kubeconfig = std::env::var_os("KUBECONFIG").context("KUBECONFIG is not set")?;
        let path = PathBuf::from(kubeconfig).with_file_name("log").join("audit.log");
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }
}
