//! What must hold in the end: every voter has the same points, and they are those that were written.

use shoal_consensus::Replica;
use shoal_shard::digest::Digest;

use super::points::IDS;
use crate::check::{Broken, Check};
use crate::world::World;

impl World {
    /// Nobody writes any more for a while, so that all voters come to have the same.
    pub(crate) fn ends_whole(&mut self) -> Result<(), Broken> {
        let differ = |detail: String| Err(Broken { check: Check::Same, detail });
        self.history.nothing_acked_is_missing()?;
        let leads = |replica: &&Replica| replica.status().leads.is_some();
        let primary = self.nodes.iter().filter_map(|node| node.replica.as_ref()).find(leads);
        let Some(members) = primary.and_then(|replica| replica.log().config()).cloned() else {
            return differ("nobody leads in the end".into());
        };
        let mut first: Option<(usize, Digest)> = None;
        let ids: Vec<u64> = (0..IDS).collect();
        for node in 0..self.nodes.len() {
            if !members.contains(self.nodes[node].disk.id) {
                continue;
            }
            let Some(running) = self.running(node) else {
                return differ(format!("replica {node} does not run in the end"));
            };
            let Some((shard, hand)) = &running.shard else { continue };
            let digest = hand.verify().and_then(|()| shard.digest());
            let digest = match digest {
                Ok(digest) => digest,
                Err(error) => return differ(format!("replica {node}: {error}")),
            };
            self.read_these(node, &ids)?;
            if digest.seq != self.history.committed() {
                let (seq, last) = (digest.seq, self.history.committed());
                return differ(format!("replica {node} ends at {seq}, others at {last}"));
            }
            match &first {
                None => first = Some((node, digest)),
                Some((_, same)) if *same == digest => {}
                Some((other, before)) => {
                    let buckets = digest.differing(before);
                    return differ(format!("replicas {other} and {node} differ in {buckets:?}"));
                }
            }
        }
        Ok(())
    }
}
