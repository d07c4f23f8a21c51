//! `shoal shard`: one shard on one disk, answering routers over gRPC.
//!
//! It listens first and opens the disk then: until it is open, callers and probes hear "not ready".

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use shoal_shard::api::{Identity, Tuning, Tunings};
use shoal_shard::{Limits, Shard};
use shoal_vector::{Quantization, SparseVectorConfig, VectorConfig};

use super::limit_args::LimitArgs;
use super::replica_args::{Among, ReplicaArgs};
use super::{open_files, secrets};
use crate::admin;
use crate::drain::{self, Stop};
use crate::listen::{self, Listeners};
use crate::local_shard::LocalShard;
use crate::reads::ReadPool;
use crate::replica::receive::{LocalSlot, ReplicaServer};
use crate::replica::register::RegisterStore;
use crate::replica::register::file::FileRegister;
use crate::replica::register::kube::KubeRegister;
use crate::replica::snapshots::Snapshots;
use crate::replica::start::{self, ReplicaConfig, Started};
use crate::shard_server::{ShardServer, ShardSlot};
use crate::target::Addressee;
use crate::telemetry::Telemetry;
use crate::token::SharedToken;

/// How long another replica may take to lead before this one stops all the same. Kubernetes waits for 30 s.
const SWITCHOVER: Duration = Duration::from_secs(5);

/// Bytes of the log that are kept for replicas which were away for a while.
const KEPT_LOG_BYTES: u64 = 256 << 20;

/// How fast snapshots are sent, so that they leave the disk and the network to those who search.
const SNAPSHOT_BYTES_PER_SECOND: u64 = 100 << 20;

/// What a shard must be told.
#[derive(Args, Clone, Debug)]
pub struct ShardArgs {
    /// The shard's folder: its disk.
    #[arg(long, env = "SHOAL_DATA")]
    pub data: PathBuf,
    /// Where routers reach it (gRPC).
    #[arg(long, env = "SHOAL_LISTEN", default_value = "[::]:6335")]
    pub listen: SocketAddr,
    /// Where health and metrics are.
    #[arg(long, env = "SHOAL_ADMIN_LISTEN", default_value = "[::]:9090")]
    pub admin_listen: SocketAddr,
    /// The collection's client-facing name. The disk of another is refused.
    #[arg(long, env = "SHOAL_COLLECTION")]
    pub collection: String,
    /// The shard's name. The disk of another is refused.
    #[arg(long, env = "SHOAL_SHARD")]
    pub shard: String,
    /// The collection's vectors as JSON, such as [{"name":"","size":384,"distance":"Cosine"}].
    #[arg(long, env = "SHOAL_VECTORS", value_parser = parse_vectors)]
    pub vectors: Vectors,
    /// Names of the collection's sparse vectors as JSON, such as [{"name":"words"}].
    #[arg(long, env = "SHOAL_SPARSE_VECTORS", value_parser = parse_sparse)]
    pub sparse_vectors: Option<SparseVectors>,
    /// Candidates considered for each point while a segment is built.
    #[arg(long, env = "SHOAL_EF_CONSTRUCT", default_value_t = shoal_crds::defaults::EF_CONSTRUCT)]
    pub ef_construct: u32,
    /// Candidates kept by a search that names no hnsw_ef.
    #[arg(long, env = "SHOAL_EF", default_value_t = shoal_crds::defaults::EF)]
    pub ef: u32,
    /// By what graphs are walked: Bits4, Int8, or None for the vectors themselves. Holds for segments made from now on.
    #[arg(long, env = "SHOAL_QUANTIZATION", default_value_t)]
    pub quantization: Quantization,
    /// Tuning of single vectors as JSON, where it is not that of all, such as
    /// [{"name":"title","efConstruct":200,"ef":128,"quantization":"Int8"}]. Without `quantization` it is Bits4.
    #[arg(long, env = "SHOAL_TUNING", value_parser = parse_tuning)]
    pub tuning: Option<VectorTunings>,
    /// Limits of the shard.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// File with the token that routers and the operator show.
    #[arg(long, env = "SHOAL_TOKEN_FILE")]
    pub token_file: PathBuf,
    /// What it has to know as one of several replicas.
    #[command(flatten)]
    pub replica: ReplicaArgs,
}

/// The vectors of a collection.
#[derive(Clone, Debug)]
pub struct Vectors(pub Vec<VectorConfig>);

fn parse_vectors(text: &str) -> Result<Vectors, String> {
    let vectors: Vec<VectorConfig> =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    match vectors.is_empty() {
        true => Err("at least one vector is needed".to_owned()),
        false => Ok(Vectors(vectors)),
    }
}

/// The sparse vectors of a collection.
#[derive(Clone, Debug, Default)]
pub struct SparseVectors(pub Vec<SparseVectorConfig>);

fn parse_sparse(text: &str) -> Result<SparseVectors, String> {
    serde_json::from_str(text).map(SparseVectors).map_err(|error| error.to_string())
}

/// Tuning of single vectors.
#[derive(Clone, Debug, Default, serde::Deserialize)]
pub struct VectorTunings(Vec<VectorTuning>);

/// Tuning of one vector.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct VectorTuning {
    name: String,
    ef_construct: u32,
    ef: u32,
    #[serde(default)]
    quantization: Quantization,
}

fn parse_tuning(text: &str) -> Result<VectorTunings, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Serves the shard until told to stop.
pub async fn run(args: ShardArgs) -> anyhow::Result<()> {
    let token = secrets::token(&args.token_file)?;
    let signalled = drain::on_signals()?;
    let (stopper, stop) = drain::manual();
    open_files::raise(1);
    let telemetry = Arc::new(Telemetry::new());
    let slot: ShardSlot = Arc::new(OnceLock::new());
    let Listeners { main, admin } = listen::both(args.listen, Some(args.admin_listen)).await?;

    let readiness = readiness(slot.clone(), signalled.clone());
    let admin =
        listen::serve(admin, admin::app(telemetry.clone(), readiness), "admin", stop.clone());
    let (collection, name) = (args.collection.clone(), args.shard.clone());
    let among = args.replica.among()?;
    let others = LocalSlot::default();
    let addressee = Addressee { collection: collection.clone(), shard: name.clone() };
    let snapshots = Snapshots::new(SNAPSHOT_BYTES_PER_SECOND, telemetry.clone());
    let service =
        ReplicaServer::new(addressee, others.clone(), snapshots, telemetry.clone(), stop.clone());
    let service = among.is_some().then(|| service.guarded(token.clone()));
    let server = ShardServer::new(&collection, &name, slot.clone(), telemetry.clone());
    let server = server.serve(main, token.clone(), stop.clone(), service);
    let server = drain::bounded("shard", stop.clone(), server);
    let replica: OnceLock<Started> = OnceLock::new();
    let open = async {
        let shard = match among {
            None => open(args).await?,
            Some(among) => {
                let started =
                    start::start(config(args, among, token, telemetry.clone()).await?).await?;
                let _ = others.set(started.local.clone());
                telemetry.watch_replica(&collection, &name, started.handle.statuses());
                let reads = ReadPool::for_this_machine();
                let shard =
                    LocalShard::replica(started.cell.clone(), reads, started.handle.clone());
                let _ = replica.set(started);
                shard
            }
        };
        telemetry.watch_shard(&collection, &shard);
        tracing::info!(collection, shard = %shard.name(), "open: serving");
        // The slot is set here alone.
        let _ = slot.set(shard);
        Ok(())
    };
    let opened = async {
        tokio::select! {
            opened = open => opened,
            // Opening writes nothing that a crash could hurt, so there is nothing to wait for.
            () = stop.clone().wait() => Ok(()),
        }
    };
    let leave = async {
        signalled.clone().wait().await;
        if let Some(replica) = replica.get() {
            replica.handle.step_aside(SWITCHOVER).await;
        }
        stopper.stop();
        Ok(())
    };
    let served = tokio::try_join!(opened, server, admin, leave);
    if let Some(replica) = replica.into_inner() {
        replica.close().await?;
    } else if let Some(shard) = slot.get().and_then(|shard| shard.shard().ok()) {
        tokio::task::spawn_blocking(move || Shard::clone(&shard).close()).await?;
    }
    tracing::info!("closed");
    served.map(|_| ())
}

fn identity_and_tunings(args: &ShardArgs) -> (Identity, Tunings) {
    let identity = Identity {
        collection: args.collection.clone(),
        shard: args.shard.clone(),
        vectors: args.vectors.0.clone(),
        sparse: args.sparse_vectors.clone().unwrap_or_default().0,
    };
    let tuning = |ef_construct: u32, ef: u32, quantization| Tuning {
        ef_construct: ef_construct as usize,
        ef: ef as usize,
        quantization,
    };
    let own = args.tuning.clone().unwrap_or_default().0.into_iter();
    let tunings = Tunings {
        default: tuning(args.ef_construct, args.ef, args.quantization),
        named: own
            .map(|own| (own.name, tuning(own.ef_construct, own.ef, own.quantization)))
            .collect(),
    };
    (identity, tunings)
}

async fn open(args: ShardArgs) -> anyhow::Result<LocalShard> {
    let (identity, tunings) = identity_and_tunings(&args);
    let (name, limits, data) = (args.shard, args.limits.limits(), args.data);
    let opened = tokio::task::spawn_blocking(move || Shard::open(&data, identity, tunings, limits));
    let shard = opened.await?.with_context(|| format!("shard {name} cannot be opened"))?;
    Ok(LocalShard::new(name, shard, ReadPool::for_this_machine()))
}

async fn config(
    args: ShardArgs,
    among: Among,
    token: SharedToken,
    telemetry: Arc<Telemetry>,
) -> anyhow::Result<ReplicaConfig> {
    let (identity, tunings) = identity_and_tunings(&args);
    let limits = Limits { kept_log_bytes: KEPT_LOG_BYTES, ..args.limits.limits() };
    let (register, replicas): (Arc<dyn RegisterStore>, _) = match &among.register {
        Some(path) => {
            let (names, replicas) = tokio::sync::watch::channel(among.replicas);
            drop(names);
            (Arc::new(FileRegister::open(path)), replicas)
        }
        None => {
            let register = KubeRegister::start(None, &args.shard).await?;
            let replicas = register.replicas();
            (Arc::new(register), replicas)
        }
    };
    Ok(ReplicaConfig {
        name: among.name,
        replicas,
        address: among.address,
        via: among.via,
        settings: among.settings,
        visibility_sla: among.visibility_sla,
        compare_every: among.compare_every,
        dir: args.data,
        identity,
        tunings,
        limits,
        register,
        token,
        telemetry,
    })
}

fn readiness(slot: ShardSlot, stop: Stop) -> admin::Readiness {
    Arc::new(move || match (slot.get(), stop.is_set()) {
        (_, true) => Err("stopping".to_owned()),
        (None, false) => Err("the shard is being opened".to_owned()),
        // Until someone restored the files, requests would only be answered with the damage.
        (Some(shard), false) => {
            let checked = shard.shard().and_then(|shard| shard.check());
            checked.map_err(|error| error.to_string())
        }
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use shoal_shard::api::OpOrigin;
    use shoal_vector::{Metric, Op, Point, PointId};

    use super::*;

    const VALUE: f32 = 1.2345;

    fn open_in(dir: &Path) -> LocalShard {
        let vector = VectorConfig::new("", 2, Metric::Dot);
        let identity = Identity {
            collection: "c".into(),
            shard: "c-0".into(),
            vectors: vec![vector],
            sparse: vec![],
        };
        let tuning = Tuning { ef_construct: 10, ef: 10, quantization: Quantization::default() };
        let limits = Limits { mutable_entries: 2, ..Limits::default() };
        let shard = Shard::open(dir, identity, tuning, limits).unwrap();
        LocalShard::new("c-0".into(), shard, ReadPool::new(1))
    }

    fn ready_of(shard: LocalShard, stop: Stop) -> admin::Readiness {
        let slot = ShardSlot::default();
        slot.set(shard).unwrap();
        readiness(slot, stop)
    }

    /// Writes a segment, and changes a vector in its file.
    async fn damaged_segment(dir: &Path) {
        let shard = open_in(dir);
        let point = |id| Point {
            id: PointId::Num(id),
            vectors: vec![(String::new(), vec![VALUE; 2])],
            payload: vec![],
        };
        let op = shoal_shard::encode_op(&Op::Upsert(vec![point(1), point(2)]));
        shard.write(op.into(), OpOrigin::default(), true).await.unwrap();
        while shard.info().await.unwrap().segments == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let shard = shard.shard().unwrap();
        tokio::task::spawn_blocking(move || Shard::clone(&shard).close()).await.unwrap();
        let path = fs::read_dir(dir.join("segments")).unwrap().next().unwrap().unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let vector = [VALUE.to_le_bytes(); 2].concat();
        let at = bytes.windows(vector.len()).position(|window| window == vector).unwrap();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
    }

    #[test]
    fn the_tuning_of_a_vector_is_read_and_half_of_one_is_refused() {
        let read = parse_tuning(r#"[{"name": "a", "efConstruct": 200, "ef": 9}]"#).unwrap();
        assert_eq!((read.0[0].name.as_str(), read.0[0].ef_construct, read.0[0].ef), ("a", 200, 9));
        assert_eq!(read.0[0].quantization, Quantization::Bits4);
        let own = r#"[{"name": "a", "efConstruct": 200, "ef": 9, "quantization": "None"}]"#;
        assert_eq!(parse_tuning(own).unwrap().0[0].quantization, Quantization::None);
        assert!(parse_tuning(&own.replace("None", "none")).is_err());
        assert!(parse_tuning(r#"[{"name": "a", "ef": 9}]"#).is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_shard_is_ready_until_damage_is_found_and_not_again() {
        let (_stopper, stop) = drain::manual();
        let dir = tempfile::tempdir().unwrap();
        let whole = open_in(&dir.path().join("whole"));
        assert_eq!(ready_of(whole.clone(), stop.clone())(), Ok(()));

        let path = dir.path().join("damaged");
        damaged_segment(&path).await;
        let ready = ready_of(open_in(&path), stop);
        // It is found when the segment is verified, on a thread of the shard's.
        let found = async {
            while ready().is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), found).await.unwrap();
        assert!(ready().unwrap_err().contains("damaged"), "{:?}", ready());
    }
}
