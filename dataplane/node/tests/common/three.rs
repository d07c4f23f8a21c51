//! Three replicas of a shard as processes, and a router's way to them.

use std::time::Duration;

use shoal_node::router::api::{Consistency, ReadOptions};
use shoal_node::router::shard_client::ShardClient;
use shoal_shard::api::{OpOrigin, WriteAck};
use shoal_vector::{Op, Point, PointId};

use super::replica::{Replica, set_of};
use super::{TOKEN, until_ready};

/// Time that no request of these tests should need.
pub const LONG: Duration = Duration::from_secs(60);
pub const NAMES: [&str; 3] = ["r0", "r1", "r2"];

pub struct Three {
    pub root: tempfile::TempDir,
    pub replicas: Vec<Replica>,
    pub set: ShardClient,
    next_op: u64,
}

impl Three {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With further arguments.
    pub async fn start_with(more: &'static [&'static str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let start = |name| Replica::start(root.path(), name, &NAMES.join(","), more);
        let mut replicas = NAMES.map(start).into_iter().collect::<Vec<_>>();
        for replica in &mut replicas {
            until_ready(&mut replica.process, replica.admin).await;
        }
        let set = set_of(&replicas);
        Self { root, replicas, set, next_op: 1 }
    }

    /// Writes a point of an id, and returns once it is visible.
    pub async fn put(&mut self, id: u64) -> WriteAck {
        self.write(id, true).await
    }

    /// The same; with `wait` it returns once it is visible.
    pub async fn write(&mut self, id: u64, wait: bool) -> WriteAck {
        let vectors = vec![(String::new(), vec![id as f32, 1.0])];
        let point = Point { id: PointId::Num(id), vectors, payload: Vec::new() };
        let op = shoal_shard::encode_op(&Op::Upsert(vec![point]));
        let origin = OpOrigin { client_id: 7, op_id: self.next_op };
        self.next_op += 1;
        self.set.write(op.into(), origin, wait, LONG).await.unwrap()
    }

    pub async fn count(&self, consistency: Consistency) -> u64 {
        let options = ReadOptions { consistency, ..LONG.into() };
        self.set.count(None, options).await.unwrap().value
    }

    /// Position of whoever leads, once there is one.
    pub async fn primary(&self) -> usize {
        loop {
            for (at, replica) in self.replicas.iter().enumerate() {
                if replica.leads().await {
                    return at;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
