//! `shoal shard` as processes on 127.0.0.0/8: one that is alone, or the replicas of one shard.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use shoal_proto::auth::Token;
use shoal_proto::pb::shard_service_client::ShardServiceClient;
use shoal_proto::{PROTOCOL_VERSION, pb};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

const COLLECTION: &str = "bench";
const SHARD: &str = "bench-0";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// Attempts to find who takes writes, and the time between two.
const ATTEMPTS: usize = 600;
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) type Client = ShardServiceClient<InterceptedService<Channel, Token>>;

/// Milliseconds of processor time in a tick, in which Linux counts it.
const TICK_MS: u64 = 10;
/// Milliseconds of processor time that a shard uses in [`LOOK`] which does nothing but show that it lives.
const IDLE_MS: u64 = 50;
const LOOK: Duration = Duration::from_millis(500);
const LOOKS: u32 = 240;

/// One shard: its processes, killed when dropped.
pub(crate) struct Processes {
    children: Vec<Child>,
    addresses: Vec<String>,
}

impl Processes {
    /// Starts `count` replicas, or a shard that is alone, with disks in `folder`.
    pub(crate) fn start(shoal: &Path, folder: &Path, count: usize, size: usize) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let token = folder.join("token");
        std::fs::write(&token, TOKEN)?;
        let addresses = (0..count).map(free_address).collect::<Result<Vec<_>>>()?;
        let mut started = Self { children: Vec::new(), addresses };
        let names: Vec<String> = (0..count).map(|n| format!("r{n}")).collect();
        for (name, address) in names.iter().zip(&started.addresses) {
            let mut command = Command::new(shoal);
            command.arg("shard").arg("--data").arg(folder.join(name));
            command.args(["--listen", address, "--admin-listen", &free_address(0)?]);
            command.args(["--collection", COLLECTION, "--shard", SHARD]);
            let vectors = format!(r#"[{{"name":"","size":{size},"distance":"Cosine"}}]"#);
            command.arg("--vectors").arg(vectors).arg("--token-file").arg(&token);
            if count > 1 {
                command.args(["--replica", name, "--replicas", &names.join(",")]);
                command.arg("--register").arg(folder.join("register.json"));
                command.args(["--advertise", address]);
            }
            let log = File::create(folder.join(format!("{name}.log")))?;
            let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
            started.children.push(child.with_context(|| format!("starting {}", shoal.display()))?);
        }
        Ok(started)
    }

    /// Milliseconds of processor time that they have had.
    pub(crate) fn processor_ms(&self) -> Result<u64> {
        self.children.iter().map(|child| processor_ms(child.id())).sum()
    }

    /// A client of the one that takes writes, once there is one.
    pub(crate) async fn primary(&self) -> Result<Client> {
        for _ in 0..ATTEMPTS {
            for address in &self.addresses {
                let mut client = client(address)?;
                // An op that changes nothing, so that only the primary of a quorum answers well.
                let nothing = shoal_vector::Op::Delete(shoal_vector::op::Selector::Ids(vec![
                    shoal_vector::PointId::Num(0),
                ]));
                if client.write(request(&nothing, 0, 0)).await.is_ok() {
                    return Ok(client);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!("nobody takes writes: see the logs beside the disks")
    }
}

/// Waits until nobody makes segments of what was written any more, so that the next turn does not pay for the last.
pub(crate) async fn settled(all: &[&Processes]) -> Result<()> {
    let used = || all.iter().map(|processes| processes.processor_ms()).sum::<Result<u64>>();
    let mut before = used()?;
    for _ in 0..LOOKS {
        tokio::time::sleep(LOOK).await;
        let now = used()?;
        if now - before <= IDLE_MS * all.len() as u64 {
            return Ok(());
        }
        before = now;
    }
    bail!("they are busy for {:?} and nobody writes", LOOK * LOOKS)
}

/// Milliseconds of processor time that a process has had.
fn processor_ms(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let stat =
        std::fs::read_to_string(&path).with_context(|| format!("{path}: this needs Linux"))?;
    // Its name, in parentheses, may hold anything.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let times = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(times.sum::<Result<u64, _>>().context(path)? * TICK_MS)
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A write that is answered once it is visible.
pub(crate) fn request(op: &shoal_vector::Op, client_id: u64, op_id: u64) -> pb::WriteRequest {
    pb::WriteRequest {
        target: Some(pb::Target {
            version: PROTOCOL_VERSION,
            collection: COLLECTION.to_owned(),
            shard: SHARD.to_owned(),
            r#gen: 1,
            ..pb::Target::default()
        }),
        op: shoal_shard::encode_op(op).into(),
        client_id,
        op_id,
        wait: true,
    }
}

fn client(address: &str) -> Result<Client> {
    let token = Token::parse(TOKEN).map_err(|error| anyhow::anyhow!("{error}"))?;
    let channel =
        Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect_lazy();
    Ok(ShardServiceClient::with_interceptor(channel, token))
}

fn free_address(replica: usize) -> Result<String> {
    let host = if cfg!(target_os = "linux") { replica + 1 } else { 1 };
    let listener = TcpListener::bind(format!("127.0.0.{host}:0"))?;
    Ok(listener.local_addr()?.to_string())
}
