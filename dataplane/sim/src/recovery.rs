//! What must hold in the end, when nothing has failed for a while.

use shoal_consensus::Replica;

use crate::check::{Broken, Check};
use crate::world::World;

impl World {
    /// With all mended for a while, there is one primary, and every voter has all that it has committed.
    pub(crate) fn recovered(&self, acked_before: u64) -> Result<(), Broken> {
        let stuck = |detail: String| Err(Broken { check: Check::Progress, detail });
        if self.acked() <= acked_before {
            let roles: Vec<_> =
                self.nodes.iter().map(|node| node.replica.as_ref().map(Replica::status)).collect();
            return stuck(format!(
                "nothing was acked in the end: {roles:?}, {:?}",
                self.store.read()
            ));
        }
        let primary = self.nodes.iter().filter_map(|node| node.replica.as_ref()).find(|replica| {
            let status = replica.status();
            status.leads.is_some() && status.commit >= self.history.last_acked()
        });
        let Some(config) = primary.and_then(|replica| replica.log().config()) else {
            return stuck("nobody leads in the end".into());
        };
        for (at, node) in self.nodes.iter().enumerate() {
            if config.contains(node.disk.id) {
                let behind = self.history.committed().saturating_sub(node.applied);
                if behind > 200 {
                    return stuck(format!("replica {at} is {behind} behind"));
                }
                if !self.plan.whole {
                    self.history.holds_all_until(at, &node.disk.log, node.applied)?;
                }
            }
        }
        match self.lost {
            Some(_) => stuck("a lost disk was never replaced".into()),
            None => Ok(()),
        }
    }
}
