//! What a replica is to its shard, as a message for the operator.

use std::time::{Duration, Instant};

use shoal_consensus::Role;
use shoal_proto::pb;
use shoal_shard::journal::CutOps;

use super::wire::{encode_disk, encode_epoch};
use super::{Failover, ReplicaStatus};

/// A replica's status, told at `now`.
pub fn status_to_pb(status: &ReplicaStatus, now: Instant) -> pb::ReplicaReply {
    let behind = status.behind.iter();
    pb::ReplicaReply {
        disk: encode_disk(status.disk),
        role: role(status.role).into(),
        commit_seq: status.commit,
        applied_seq: status.applied,
        stale_ms: millis(now.saturating_duration_since(status.fresh)),
        short: status.short,
        fetching: status.fetching,
        ended: status.ended.clone(),
        behind: behind.map(|&(disk, ops)| pb::Behind { disk: encode_disk(disk), ops }).collect(),
        failover: status.failover.as_ref().map(failover),
        last_epoch: status.last_epoch,
        cut: status.cut.iter().map(cut).collect(),
        cut_is_partial: status.cut_is_partial,
    }
}

fn cut(cut: &CutOps) -> pb::CutOps {
    let epoch = pb::Epoch { number: cut.epoch.number, nonce: cut.epoch.nonce };
    pb::CutOps { epoch: Some(epoch), ops: cut.ops, by: cut.by }
}

fn failover(failover: &Failover) -> pb::Failover {
    pb::Failover {
        epoch: Some(encode_epoch(failover.epoch)),
        from: encode_disk(failover.from),
        detected_ms: failover.detected_ms,
        promoted_ms: failover.promoted_ms,
        duration_ms: failover.duration.map(millis),
        planned: failover.planned,
        lost_ops: failover.lost_ops,
        former: failover.former.map(encode_epoch),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn role(role: Role) -> pb::ReplicaRole {
    match role {
        Role::Learner => pb::ReplicaRole::Learner,
        Role::Follower => pb::ReplicaRole::Follower,
        Role::Electing => pb::ReplicaRole::Electing,
        Role::Primary => pb::ReplicaRole::Primary,
        Role::Fenced => pb::ReplicaRole::Fenced,
        Role::Quarantined => pb::ReplicaRole::Quarantined,
    }
}

#[cfg(test)]
mod tests {
    use shoal_consensus::{DiskId, Epoch};

    use super::*;

    #[test]
    fn what_a_primary_knows_of_itself_and_of_the_others_is_told() {
        let now = Instant::now();
        let epoch = Epoch { number: 3, nonce: 9 };
        let status = ReplicaStatus {
            role: Role::Primary,
            leads: Some(epoch),
            commit: 10,
            applied: 9,
            behind: vec![(DiskId(2), 4)],
            failover: Some(Failover {
                epoch,
                from: DiskId(2),
                detected_ms: 1_000,
                promoted_ms: 1_250,
                duration: Some(Duration::from_millis(900)),
                planned: true,
                former: Some(Epoch { number: 2, nonce: 8 }),
                lost_ops: Some(0),
            }),
            last_epoch: 3,
            cut: [CutOps {
                epoch: shoal_shard::journal::Epoch { number: 1, nonce: 5 },
                ops: 7,
                by: 2,
            }]
            .into(),
            ..ReplicaStatus::new(DiskId(1), now)
        };
        let told = status_to_pb(&status, now + Duration::from_millis(40));
        assert_eq!(told.role(), pb::ReplicaRole::Primary);
        assert_eq!((told.commit_seq, told.applied_seq, told.stale_ms), (10, 9, 40));
        let behind = pb::Behind { disk: encode_disk(DiskId(2)), ops: 4 };
        assert_eq!(told.behind, [behind]);
        let failover = told.failover.expect("told");
        assert_eq!(failover.epoch, Some(pb::Epoch { number: 3, nonce: 9 }));
        assert_eq!((failover.duration_ms, failover.planned), (Some(900), true));
        assert_eq!(failover.lost_ops, Some(0));
        assert_eq!(failover.former, Some(pb::Epoch { number: 2, nonce: 8 }));
        let cut = pb::CutOps { epoch: Some(pb::Epoch { number: 1, nonce: 5 }), ops: 7, by: 2 };
        assert_eq!((told.last_epoch, told.cut), (3, vec![cut]));
    }
}
