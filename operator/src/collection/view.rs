//! A shard and its replicas as they are, and that in words. Pure.
//!
//! A shard serves by a majority of its replicas: writes need one, and whoever leads has one.

use k8s_openapi::api::core::v1::Pod;
use shoal_crds::labels;
use shoal_crds::shard::{LastFailover, ReplicaState};

use super::pods;
use crate::samples::Sample;
use crate::told::ShardTold;

/// A shard as it is.
#[derive(Clone, Debug, Default)]
pub struct ShardView {
    /// Its name.
    pub name: String,
    /// Its replicas.
    pub replicas: Vec<ReplicaView>,
    /// Number of the one that takes writes, if that is known.
    pub primary: Option<u32>,
    /// Number of the only one that votes, where there is one alone.
    pub only_voter: Option<u32>,
    /// Whether a pod is still to be replaced by one as the user asks.
    pub outdated: bool,
    /// What it last said about itself.
    pub sample: Option<Sample>,
    /// What its replicas last said; of a lone one nothing.
    pub told: ShardTold,
    /// Its replicas' states; of a lone one none.
    pub states: Vec<ReplicaState>,
    /// Whether nobody is known to lead, although replicas are to agree who does.
    pub in_election: bool,
    /// Why it cannot go on by itself, where so many nodes are lost.
    pub lost_majority: Option<String>,
    /// The last time that another replica came to lead.
    pub last_failover: Option<LastFailover>,
}

/// A replica as it is.
#[derive(Clone, Debug, Default)]
pub struct ReplicaView {
    /// Its number.
    pub number: u32,
    /// Its pod.
    pub pod: Option<std::sync::Arc<Pod>>,
}

impl ReplicaView {
    pub(super) fn is_ready(&self) -> bool {
        self.pod.as_deref().is_some_and(pods::is_ready)
    }
}

impl ShardView {
    pub(super) fn ready(&self) -> usize {
        self.replicas.iter().filter(|replica| replica.is_ready()).count()
    }

    /// Whether a majority of its replicas is ready: of one copy, that one, also while others follow it and do not vote yet.
    pub(super) fn is_ready(&self) -> bool {
        match self.replicas.iter().find(|replica| Some(replica.number) == self.only_voter) {
            Some(only) => only.is_ready(),
            None => self.ready() > self.replicas.len() / 2,
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.ready() == self.replicas.len()
    }

    /// The pod that takes writes, if it is known.
    pub(super) fn serving_pod(&self) -> Option<&Pod> {
        let primary = self.replicas.iter().find(|replica| Some(replica.number) == self.primary);
        primary?.pod.as_deref()
    }

    /// Why not all of it serves.
    pub(super) fn trouble(&self) -> String {
        let away = self.replicas.iter().find(|replica| !replica.is_ready());
        let trouble = away.map_or_else(String::new, |replica| {
            let set = labels::replica_name(&self.name, replica.number);
            pods::trouble(&set, replica.pod.as_deref())
        });
        match (self.ready(), self.replicas.len()) {
            (_, ..=1) => trouble,
            (ready, all) if self.is_ready() => {
                format!("{ready} of {all} replicas serve; {trouble}")
            }
            (ready, all) => {
                format!("{ready} of {all} replicas serve, {} are needed; {trouble}", all / 2 + 1)
            }
        }
    }

    /// Why not all of it serves, or other words where all does.
    pub(super) fn trouble_or(&self, other: &str) -> String {
        if self.is_whole() { other.to_owned() } else { self.trouble() }
    }

    /// That all of it serves.
    pub(super) fn praise(&self) -> String {
        match self.replicas.len() {
            ..=1 => "its pod serves".to_owned(),
            all => format!("all {all} replicas serve"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::{PodCondition, PodStatus};

    use super::*;

    fn view(ready: [bool; 3], only_voter: Option<u32>) -> ShardView {
        let pod = |ready: bool| {
            let status = if ready { "True" } else { "False" };
            let condition =
                PodCondition { type_: "Ready".into(), status: status.into(), ..Default::default() };
            let status = PodStatus { conditions: Some(vec![condition]), ..Default::default() };
            Arc::new(Pod { status: Some(status), ..Default::default() })
        };
        let replica = |(number, ready)| ReplicaView { number, pod: Some(pod(ready)) };
        let replicas = (0..).zip(ready).map(replica).collect();
        ShardView { name: "c-0".into(), replicas, only_voter, ..ShardView::default() }
    }

    #[test]
    fn one_that_votes_alone_serves_alone_while_others_are_on_their_way() {
        let joining = view([true, false, false], Some(0));
        assert!(joining.is_ready());
        assert!(joining.trouble().starts_with("1 of 3 replicas serve; "), "{}", joining.trouble());
        assert!(!view([false, true, true], Some(0)).is_ready());
        assert!(!view([true, false, false], None).is_ready(), "two are needed of three that vote");
        assert!(view([true, true, false], None).is_ready());
    }
}
