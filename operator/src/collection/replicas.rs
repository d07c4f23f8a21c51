//! The replicas of a shard: which it is to have, who leads, and which of those that left may be taken down. Pure.
//!
//! Which there are stands in the Shard; should that be lost, the disks tell. Who leads and who votes stands in the register,
//! which the replicas alone write.
//!
//! A shard of one copy is alone until it is to have several. Then it founds a register on its own disk, and only once it leads
//! are others named, who follow it; see `docs/replication.md`. From there on it has a register, also where one replica is left.
//!
//! Invariants: a number is never used for another disk; a replica is taken out only where the primary is known not to be it,
//! and taken down only once its disk is known not to vote; one that was not alone never is again.

use std::collections::BTreeMap;

use shoal_crds::shard::{RegisterPhase, ShardRegister, ShardReplica};
use shoal_crds::{Shard, labels};

use super::observe::Seen;
use crate::kubernetes::meta;

/// The replicas a shard has, or is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    /// How many there are to be.
    pub count: u32,
    /// Whether they agree through a register; else there is one, and it is alone.
    pub replicated: bool,
    /// Their numbers, in order. While replicas are replaced by hand there may be others than `count`.
    pub numbers: Vec<u32>,
    /// Number of the next one.
    pub next: u32,
}

impl Replicas {
    /// What a Shard says.
    pub fn of(shard: &Shard) -> Self {
        let spec = &shard.spec;
        let names = spec.replica_names.iter();
        let mut numbers: Vec<u32> = names.filter_map(|name| labels::replica_number(name)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        // Shards were made without names while each had one copy.
        if numbers.is_empty() && !spec.is_replicated() {
            numbers.push(0);
        }
        let above = numbers.last().map_or(0, |last| last + 1);
        let next = spec.next_replica.unwrap_or_default().max(above);
        Self { count: spec.replicas, replicated: spec.is_replicated(), numbers, next }
    }

    /// A shard of one copy that never had more.
    pub fn alone() -> Self {
        Self { count: 1, replicated: false, numbers: vec![0], next: 1 }
    }

    /// Whether they agree through a register.
    pub fn is_replicated(&self) -> bool {
        self.replicated
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        self.numbers.iter().map(|&number| labels::replica(number)).collect()
    }
}

/// What is known of a shard's replicas, by the Shard or else by its disks; nothing of a shard that was never made.
pub fn known(seen: &Seen, shard: &str) -> Option<Replicas> {
    let told = seen.shards.get(shard).map(|shard| Replicas::of(shard));
    match told {
        Some(told) if !told.numbers.is_empty() => Some(told),
        _ => on_disks(seen, shard),
    }
}

fn on_disks(seen: &Seen, shard: &str) -> Option<Replicas> {
    let claims = seen.claims.values().map(AsRef::as_ref);
    let of_shard = claims.filter(|claim| meta::label(*claim, labels::SHARD) == Some(shard));
    let staying = of_shard.filter(|claim| meta::annotation(*claim, labels::LEFT).is_none());
    let staying: Vec<_> = staying.collect();
    let mut numbers: Vec<u32> = staying.iter().filter_map(|claim| number(*claim)).collect();
    numbers.sort_unstable();
    let next = numbers.last()? + 1;
    let replicated =
        staying.iter().any(|claim| meta::annotation(*claim, labels::REPLICATED).is_some());
    let count = match numbers.len() {
        ..=1 => 1,
        2..=3 => 3,
        _ => 5,
    };
    Some(Replicas { count, replicated, numbers, next })
}

/// The replicas a shard is to have, of which `count` are asked for.
pub fn plan(seen: &Seen, shard: &str, count: u32) -> Replicas {
    let known = known(seen, shard);
    let replicated = count > 1 || known.as_ref().is_some_and(Replicas::is_replicated);
    if !replicated {
        return known.unwrap_or_else(Replicas::alone);
    }
    let register = Register::of(seen.shards.get(shard).map(AsRef::as_ref));
    let next = next(seen, shard).max(known.as_ref().map_or(0, |known| known.next));
    // All that was acknowledged may be on the one disk there is: until whoever is on it leads, no other has a say.
    let founds = known.as_ref().is_some_and(|known| known.numbers.len() == 1);
    let grows = !founds || register.primary().is_some();
    let numbers = known.map(|known| known.numbers).unwrap_or_default();
    let mut planned = Replicas { count, replicated, numbers, next };
    while grows && planned.numbers.len() < count as usize {
        planned.numbers.push(planned.next);
        planned.next += 1;
    }
    while planned.numbers.len() > count as usize && register.lets_go() {
        let other = |&n: &u32| Some(n) != register.primary();
        // Those on lost nodes first: they would only be replaced.
        let lost = planned.numbers.iter().rposition(|n| other(n) && is_moving(seen, shard, *n));
        let Some(highest) = lost.or_else(|| planned.numbers.iter().rposition(other)) else { break };
        planned.numbers.remove(highest);
    }
    planned
}

fn is_moving(seen: &Seen, shard: &str, number: u32) -> bool {
    let (name, status) = (labels::replica(number), seen.shards.get(shard));
    let status = status.and_then(|shard| shard.status.as_ref());
    let mut states = status.into_iter().flat_map(|status| &status.replica_states);
    states.any(|state| state.moving && state.name == name)
}

/// A number above all that anything of the shard has, or had as far as is known.
fn next(seen: &Seen, shard: &str) -> u32 {
    let claims = seen.claims.values().map(|claim| {
        (meta::label(claim.as_ref(), labels::SHARD) == Some(shard)).then(|| number(claim.as_ref()))
    });
    let sets = seen.stateful_sets.values().map(|set| {
        (meta::label(set.as_ref(), labels::SHARD) == Some(shard)).then(|| number(set.as_ref()))
    });
    let status = seen.shards.get(shard).and_then(|shard| shard.status.as_ref());
    let heard_of = status.into_iter().flat_map(|status| &status.replicas);
    let heard_of = heard_of.filter_map(|replica| labels::replica_number(&replica.name));
    let seen = claims.chain(sets).flatten().flatten();
    seen.chain(heard_of).max().map_or(0, |last| last + 1)
}

/// The number of the replica that an object is of.
pub fn number<K: kube::Resource>(object: &K) -> Option<u32> {
    meta::label(object, labels::REPLICA)?.parse().ok()
}

/// What the replicas of a shard agreed on, as the Shard's status tells it.
#[derive(Clone, Copy, Debug)]
pub struct Register<'a> {
    register: Option<&'a ShardRegister>,
    replicas: &'a [ShardReplica],
}

impl<'a> Register<'a> {
    /// The register of a shard.
    pub fn of(shard: Option<&'a Shard>) -> Self {
        let status = shard.and_then(|shard| shard.status.as_ref());
        Self {
            register: status.and_then(|status| status.register.as_ref()),
            replicas: status.map(|status| status.replicas.as_slice()).unwrap_or_default(),
        }
    }

    /// Who leads, if that is known.
    pub fn primary(&self) -> Option<u32> {
        let register = self.register.filter(|register| register.phase == RegisterPhase::Stable)?;
        let disk = &register.primary.as_ref()?.disk_id;
        let replica = self.replicas.iter().find(|replica| replica.disk_id == *disk)?;
        labels::replica_number(&replica.name)
    }

    /// The disk that each replica says it has, by number.
    pub fn disks(&self) -> BTreeMap<u32, String> {
        let said = self.replicas.iter();
        said.filter_map(|r| Some((labels::replica_number(&r.name)?, r.disk_id.clone()))).collect()
    }

    /// What each voter is called: the number of the replica on that disk, where there is one.
    pub fn voters(&self) -> Vec<Option<u32>> {
        let voters = self.register.map(|register| register.members.voters.as_slice());
        let number = |disk: &String| {
            let on_it = self.replicas.iter().find(|replica| replica.disk_id == *disk)?;
            labels::replica_number(&on_it.name)
        };
        voters.unwrap_or_default().iter().map(number).collect()
    }

    /// The one replica that votes, where one does: while others are on their way to, it decides alone.
    pub fn only_voter(&self) -> Option<u32> {
        match self.voters()[..] {
            [only] => only,
            _ => None,
        }
    }

    /// What a disk is called: the replica on it, or else its id.
    pub fn name_of(&self, disk: &str) -> String {
        let on_it = self.replicas.iter().find(|replica| replica.disk_id == disk);
        on_it.map_or_else(|| disk.to_owned(), |replica| replica.name.clone())
    }

    /// Whether a replica was heard of.
    pub fn knows(&self, number: u32) -> bool {
        let name = labels::replica(number);
        self.replicas.iter().any(|replica| replica.name == name)
    }

    /// The newest epoch.
    pub fn epoch(&self) -> Option<&'a str> {
        self.register.map(|register| register.epoch.as_str())
    }

    /// Whether a replica may be taken out: while one is known to lead, or while all are known to be blank. Before an election
    /// nobody knows who wins it, and of disks of a former life nobody knows yet what they hold.
    fn lets_go(&self) -> bool {
        match self.register {
            Some(_) => self.primary().is_some(),
            None => !self.replicas.is_empty() && self.replicas.iter().all(|r| r.blank),
        }
    }

    /// Whether there is a register, and nobody is known to lead.
    pub fn in_election(&self) -> bool {
        self.register.is_some() && self.primary().is_none()
    }

    /// Whether a replica's disk is known not to vote. Nothing is known without a register, while one is elected, and of a
    /// replica that was never heard of as long as there is a voter that none of the others is.
    pub fn is_out(&self, number: u32) -> bool {
        let Some(register) = self.register.filter(|_| !self.in_election()) else { return false };
        let votes = |replica: &ShardReplica| register.members.voters.contains(&replica.disk_id);
        let name = labels::replica(number);
        match self.replicas.iter().find(|replica| replica.name == name) {
            Some(replica) => !votes(replica),
            None => {
                let all = &register.members.voters;
                all.iter().all(|disk| self.replicas.iter().any(|r| r.disk_id == *disk))
            }
        }
    }

    /// The order in which pods are replaced: the primary last, so that it hands over once.
    pub fn rolling_order(&self, numbers: &[u32]) -> Vec<u32> {
        let mut order = numbers.to_vec();
        order.sort_by_key(|&number| (Some(number) == self.primary(), number));
        order
    }
}

#[cfg(test)]
#[path = "replicas_tests.rs"]
mod tests;
