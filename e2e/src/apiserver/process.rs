//! The two processes, and the guard that ends them.
//!
//! A small shell starts both and then waits for the end of its standard input, a pipe that only this process holds. When
//! the pipe closes - because the fixture was dropped, a test process ended, or was killed - it ends both and removes their
//! folder. So nothing needs a signal handler or a destructor that runs, and a static fixture leaves nothing behind.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::ports::free_port;

/// The token of the one user with all rights.
pub(super) const ADMIN_TOKEN: &str = "admin";

/// What the guard runs. Its arguments: folder of programs, etcd's two ports, the API server's port.
const GUARD: &str = r#"
bin=$1 etcd=$2 peer=$3 port=$4
"$bin/etcd" --data-dir etcd --unsafe-no-fsync --log-level warn \
  --listen-client-urls "http://127.0.0.1:$etcd" --advertise-client-urls "http://127.0.0.1:$etcd" \
  --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
  --initial-cluster "default=http://127.0.0.1:$peer" > etcd.log 2>&1 &
a=$!
"$bin/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd" --bind-address 127.0.0.1 --secure-port "$port" \
  --advertise-address 127.0.0.1 --cert-dir certificates --token-auth-file tokens.csv --authorization-mode RBAC \
  --service-account-issuer https://kubernetes.default.svc --service-account-key-file signing.key \
  --service-account-signing-key-file signing.key --service-cluster-ip-range 198.19.0.0/24 \
  --disable-admission-plugins ServiceAccount --endpoint-reconciler-type none > kube-apiserver.log 2>&1 &
b=$!
echo "$a $b" > pids
read -r _
kill -9 "$a" "$b" 2>/dev/null
wait
cd / && rm -rf "$OLDPWD"
"#;

/// The folder of programs that `e2e/cluster/build.sh` fills.
pub(super) fn bin() -> PathBuf {
    let own = std::env::var_os("SHOAL_CLUSTER_DIR").map(PathBuf::from);
    let cache = || {
        let home = || {
            std::env::var_os("HOME")
                .map_or_else(|| PathBuf::from("/root"), PathBuf::from)
                .join(".cache")
        };
        std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("shoal/cluster")
    };
    own.unwrap_or_else(cache).join("bin")
}

/// Whether all programs are there; the error says what is missing and how to get it.
pub(super) fn programs() -> Result<()> {
    let bin = bin();
    let missing: Vec<&str> = ["etcd", "kube-apiserver", "kubectl"]
        .into_iter()
        .filter(|name| !bin.join(name).is_file())
        .collect();
    if !missing.is_empty() {
        bail!("{} not in {}: run e2e/cluster/build.sh", missing.join(", "), bin.display());
    }
    Command::new("openssl")
        .arg("version")
        .stdout(Stdio::null())
        .status()
        .map_err(|error| anyhow::anyhow!("openssl cannot be run ({error}): install it"))?;
    Ok(())
}

/// etcd and kube-apiserver, and the shell that ends them.
pub(super) struct Servers {
    guard: Child,
    folder: PathBuf,
    port: u16,
}

impl Servers {
    /// Starts both in a folder of their own.
    pub(super) fn start() -> Result<Self> {
        programs()?;
        // Kept: the guard removes it, as this process may not live to do so.
        let folder = tempfile::Builder::new().prefix("shoal-apiserver-").tempdir()?.keep();
        std::fs::write(
            folder.join("tokens.csv"),
            format!("{ADMIN_TOKEN},admin,admin,\"system:masters\"\n"),
        )?;
        signing_key(&folder.join("signing.key"))?;
        let [etcd, peer, port] = [free_port(), free_port(), free_port()];
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(bin())
            .args([etcd, peer, port].map(|port| port.to_string()))
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start sh")?;
        Ok(Self { guard, folder, port })
    }

    /// Where their files are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The API server's port on loopback.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The certificate the API server makes itself.
    pub(super) fn certificate(&self) -> PathBuf {
        self.folder.join("certificates/apiserver.crt")
    }

    /// Fails, with its last words, if one of them has ended.
    pub(super) fn check_alive(&self) -> Result<()> {
        let pids = std::fs::read_to_string(self.folder.join("pids")).unwrap_or_default();
        for pid in pids.split_whitespace() {
            // A process that ended stays in state Z until the guard, its parent, waits for it.
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
            {
                bail!("etcd or kube-apiserver ended; their logs end:\n{}", self.log_tail());
            }
        }
        Ok(())
    }

    /// The last lines of both logs.
    pub(super) fn log_tail(&self) -> String {
        let tail = |name: &str| {
            let text = std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(15)..].join("\n")
        };
        format!("{}\n{}", tail("etcd.log"), tail("kube-apiserver.log"))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // Its last act is to remove the folder; nothing here depends on how it ended.
        let _ = self.guard.wait();
    }
}

/// The key that signs service accounts' tokens.
fn signing_key(path: &Path) -> Result<()> {
    let made = Command::new("openssl")
        .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"])
        .arg(path)
        .output()
        .context("cannot run openssl")?;
    if !made.status.success() {
        bail!("openssl made no key: {}", String::from_utf8_lossy(&made.stderr));
    }
    Ok(())
}
