//! What goes wrong between routers and replicas, and which replica is on which disk.

use rand::Rng;
use shoal_consensus::client::Known;

use super::{ROUTERS, RouterEvent};
use crate::check::Broken;
use crate::world::World;

/// Greatest delay in ms on a line that is well.
const LATE: u64 = 20;

impl World {
    /// After how many ms what is sent between a router and a replica arrives; `None` if it does not. Connections lose nothing on
    /// their way, and deliver nothing twice.
    pub(super) fn travels(&mut self, router: usize, node: usize) -> Option<u64> {
        let cut = self.routers.cut.get(&(router, node)).is_some_and(|&until| self.now < until);
        (!cut).then(|| self.between(1, LATE))
    }

    /// Whether something was wrong between a router and a replica, or with that, since then.
    pub(super) fn unwell_since(&self, router: usize, node: usize, since: u64) -> bool {
        self.routers.unwell.get(&(router, node)).is_some_and(|&until| until > since)
    }

    /// Something is wrong with a replica for some ms.
    pub(crate) fn is_unwell(&mut self, node: usize, ms: u64) {
        for router in 0..ROUTERS {
            self.line_is_unwell(router, node, ms);
        }
    }

    fn line_is_unwell(&mut self, router: usize, node: usize, ms: u64) {
        let until = self.routers.unwell.entry((router, node)).or_default();
        *until = (*until).max(self.now + ms);
    }

    /// The next fault: lines are cut, a router starts again and knows nothing, or two replicas have each other's disks.
    pub(super) fn router_fault(&mut self) -> Result<(), Broken> {
        if self.calm {
            return Ok(());
        }
        let next = if self.plan.storm { self.between(50, 800) } else { self.between(500, 5_000) };
        self.router_after(next, RouterEvent::Fault);
        let router = self.random.random_range(0..ROUTERS);
        if self.random.random_bool(0.1) {
            self.routers.known[router] = Known::new(self.nodes.len(), 0);
            self.routers.told[router] = 0;
            let calls = self.routers.calls.iter().filter(|(_, call)| call.router == router);
            for call in calls.map(|(&call, _)| call).collect::<Vec<_>>() {
                self.routers.ends(call);
            }
            return Ok(());
        }
        if self.random.random_bool(0.05) {
            let one = self.random.random_range(0..self.nodes.len());
            let other = self.random.random_range(0..self.nodes.len());
            return self.swap_disks(one, other);
        }
        let ms = self.between(20, if self.plan.storm { 800 } else { 6_000 });
        for node in 0..self.nodes.len() {
            if self.random.random_bool(0.4) {
                self.routers.cut.insert((router, node), self.now + ms);
                self.line_is_unwell(router, node, ms);
            }
        }
        Ok(())
    }
}
