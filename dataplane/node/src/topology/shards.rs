//! What Shard objects say of a shard's replicas: which there are, and who leads. Pure.

use std::collections::BTreeMap;

use shoal_crds::shard::RegisterPhase;
use shoal_crds::{Shard, labels};

use crate::router::ReplicaSet;

/// The replicas of each shard, by the name of its object.
pub(super) type Replicas = BTreeMap<String, Told>;

/// What an object tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Names of its replicas; none of one that is alone.
    pub(super) names: Vec<String>,
    /// The position of whoever leads, and the number of the epoch; `None` while nobody is known to.
    pub(super) seated: Option<(usize, u64)>,
}

impl Told {
    pub(super) fn of(shard: &Shard) -> Self {
        let names = replicas_by(shard);
        let seated = seated(shard, &names);
        Self { names, seated }
    }

    /// Turns the calls that go to a primary to whoever leads.
    pub(super) fn tell(&self, set: &ReplicaSet) {
        if let Some((at, epoch)) = self.seated {
            set.is_seated(at, epoch);
        }
    }
}

/// Who leads, as the register says, among those that are asked. Only a hint: the replicas know better.
fn seated(shard: &Shard, names: &[String]) -> Option<(usize, u64)> {
    let status = shard.status.as_ref()?;
    let register = status.register.as_ref().filter(|r| r.phase == RegisterPhase::Stable)?;
    let disk = &register.primary.as_ref()?.disk_id;
    let name = &status.replicas.iter().find(|replica| replica.disk_id == *disk)?.name;
    let at = names.iter().position(|known| known == name)?;
    Some((at, register.epoch.parse().ok()?))
}

/// The replicas that a router asks for a shard by its object; none of one that is alone. Until the disk of one that was alone has
/// a register, what is in its pod may repeat an op which is repeated, so it is asked as one that is alone.
fn replicas_by(shard: &Shard) -> Vec<String> {
    let names = &shard.spec.replica_names;
    let has_register = shard.status.as_ref().is_some_and(|status| status.register.is_some());
    let founds = *names == [labels::replica(0)] && !has_register;
    match shard.spec.is_replicated() && !founds {
        true => names.clone(),
        false => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use shoal_crds::shard::{RegisterMembers, RegisterPrimary, ShardRegister, ShardReplica};
    use shoal_crds::{ShardSpec, ShardStatus};

    use super::*;

    /// With these replicas, the last of which leads in epoch 7 from disk `d`.
    fn led(names: &[&str], phase: RegisterPhase) -> Shard {
        let replica_names = names.iter().map(|name| (*name).to_owned()).collect();
        let spec = ShardSpec { replicas: 3, replica_names, ..ShardSpec::default() };
        let mut shard = Shard::new("a-0", spec);
        let primary = RegisterPrimary { disk_id: "d".into(), incarnation: "1".into() };
        let register = ShardRegister {
            epoch: "7".into(),
            nonce: "0".into(),
            phase,
            primary: Some(primary),
            members: RegisterMembers { generation: "1".into(), voters: vec![], write_quorum: 2 },
        };
        let replica = |name: &str, disk: &str| ShardReplica {
            name: name.to_owned(),
            disk_id: disk.to_owned(),
            address: "a:1".to_owned(),
            blank: false,
        };
        let replicas = vec![replica("r0", "c"), replica("r3", "d")];
        shard.status =
            Some(ShardStatus { register: Some(register), replicas, ..Default::default() });
        shard
    }

    #[test]
    fn the_register_tells_who_leads_among_those_that_are_asked() {
        let told = Told::of(&led(&["r0", "r3"], RegisterPhase::Stable));
        assert_eq!(told.seated, Some((1, 7)));
        assert_eq!(Told::of(&led(&["r0", "r3"], RegisterPhase::Electing)).seated, None);
        assert_eq!(Told::of(&led(&["r0", "r1"], RegisterPhase::Stable)).seated, None);
        assert_eq!(Told::of(&Shard::new("a-0", ShardSpec::default())), Told::default());
    }
}
