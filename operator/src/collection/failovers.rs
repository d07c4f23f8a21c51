//! The last time that another replica came to lead a shard, from what the replicas said. Pure.
//!
//! Invariant: an epoch is told once, and none takes the place of a later one. Only what it lost may become known later.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use shoal_crds::Shard;
use shoal_crds::shard::{FailoverReason, LastFailover};

use super::replicas::Register;
use crate::told::FailoverTold;

/// A shard's last failover, which its status may tell already.
pub(super) fn last(shard: &Shard, told: Option<&FailoverTold>) -> Option<LastFailover> {
    let before = shard.status.as_ref().and_then(|status| status.last_failover.clone());
    let known: Option<u64> = before.as_ref().and_then(|before| before.epoch.parse().ok());
    let Some(told) = told.filter(|told| known.is_none_or(|known| told.epoch >= known)) else {
        return before;
    };
    if let Some(before) = before.as_ref().filter(|_| known == Some(told.epoch)) {
        let lost_ops = before.lost_ops.or(told.lost_ops.map(number));
        return Some(LastFailover { lost_ops, ..before.clone() });
    }
    let register = Register::of(Some(shard));
    let time = |unix_ms: u64| {
        let seconds = i64::try_from(unix_ms / 1_000).ok()?;
        Timestamp::from_second(seconds).ok().map(Time)
    };
    let (Some(detected), Some(promoted)) = (time(told.detected_ms), time(told.promoted_ms)) else {
        return before;
    };
    Some(LastFailover {
        shard: None,
        epoch: told.epoch.to_string(),
        from: register.name_of(&told.from),
        to: register.name_of(&told.to),
        reason: match told.planned {
            true => FailoverReason::Switchover,
            false => FailoverReason::PrimaryLost,
        },
        detected,
        promoted,
        duration_ms: told.duration_ms.map(number),
        lost_ops: told.lost_ops.map(number),
    })
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The newest of several shards' last failovers.
pub(super) fn newest<'a>(
    all: impl Iterator<Item = (&'a str, Option<&'a LastFailover>)>,
) -> Option<LastFailover> {
    let told = all.filter_map(|(shard, last)| {
        let last = last?.clone();
        Some(LastFailover { shard: Some(shard.to_owned()), ..last })
    });
    told.max_by(|a, b| (&a.promoted.0, &a.shard).cmp(&(&b.promoted.0, &b.shard)))
}

#[cfg(test)]
mod tests {
    use shoal_crds::ShardStatus;
    use shoal_crds::shard::ShardReplica;

    use super::*;

    const DISK: &str = "00000000-0000-0000-0000-000000000002";

    fn told(epoch: u64) -> FailoverTold {
        FailoverTold {
            epoch,
            from: "00000000-0000-0000-0000-00000000000f".into(),
            to: DISK.into(),
            detected_ms: 1_000_900,
            promoted_ms: 1_002_100,
            duration_ms: Some(1_900),
            planned: false,
            former: Some((3, 9)),
            lost_ops: Some(0),
        }
    }

    fn shard(last_failover: Option<LastFailover>) -> Shard {
        let replica = ShardReplica {
            name: "r2".into(),
            disk_id: DISK.into(),
            address: "a:1".into(),
            blank: false,
        };
        let status =
            ShardStatus { replicas: vec![replica], last_failover, ..ShardStatus::default() };
        Shard { status: Some(status), ..Shard::new("c-0", Default::default()) }
    }

    #[test]
    fn a_failover_names_replicas_and_a_disk_on_which_none_is_by_its_id() {
        let last = last(&shard(None), Some(&told(4))).expect("told");
        assert_eq!((last.epoch.as_str(), last.to.as_str()), ("4", "r2"));
        assert_eq!(last.from, told(4).from);
        assert_eq!(last.promoted.0, Timestamp::from_second(1_002).expect("a time"));
        assert_eq!((last.duration_ms, last.lost_ops), (Some(1_900), Some(0)));
        assert_eq!(last.reason, FailoverReason::PrimaryLost);
    }

    #[test]
    fn what_the_status_tells_stays_until_there_is_a_later_epoch() {
        let before = last(&shard(None), Some(&told(4)));
        let again = FailoverTold { promoted_ms: 9_000_000, ..told(4) };
        for told in [None, Some(&again), Some(&told(3))] {
            assert_eq!(last(&shard(before.clone()), told), before);
        }
        let next = last(&shard(before), Some(&told(5))).expect("told");
        assert_eq!(next.epoch, "5");
        let nonsense = FailoverTold { promoted_ms: u64::MAX, ..told(6) };
        assert_eq!(last(&shard(Some(next.clone())), Some(&nonsense)), Some(next));
    }

    #[test]
    fn what_a_failover_lost_may_become_known_later_and_does_not_change_then() {
        let told = |epoch, lost_ops| FailoverTold { lost_ops, ..told(epoch) };
        let before = last(&shard(None), Some(&told(4, None)));
        assert_eq!(before.as_ref().and_then(|last| last.lost_ops), None);
        let now = FailoverTold { promoted_ms: 9_000_000, ..told(4, Some(12)) };
        let after = last(&shard(before.clone()), Some(&now));
        let expected = before.clone().map(|last| LastFailover { lost_ops: Some(12), ..last });
        assert_eq!(after, expected);
        for same in [told(4, None), told(4, Some(3)), told(3, Some(5))] {
            assert_eq!(last(&shard(after.clone()), Some(&same)), after);
        }
        assert_eq!(last(&shard(before.clone()), Some(&told(3, Some(5)))), before);
    }

    #[test]
    fn of_several_shards_the_newest_is_told_with_its_shard() {
        let first = last(&shard(None), Some(&told(9)));
        let later = last(&shard(None), Some(&FailoverTold { promoted_ms: 2_000_000, ..told(4) }));
        let all = [("c-0", first.as_ref()), ("c-1", later.as_ref()), ("c-2", None)];
        let newest = newest(all.into_iter()).expect("told");
        assert_eq!((newest.shard.as_deref(), newest.epoch.as_str()), (Some("c-1"), "4"));
    }
}
