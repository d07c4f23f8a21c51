//! Whether every replica that serves shows what was acknowledged in time. Pure.
//!
//! A replica says since when it may not show all that is committed: the age of the last sign of life of the primary counts, so
//! that it says too much rather than too little.

use shoal_crds::conditions::reason;
use shoal_crds::labels;
use shoal_crds::shard::ReplicaRole;

use super::view::ShardView;

/// Whether it holds; `None` where that is not known.
pub(super) type Holds = Option<bool>;

/// Whether it holds in these shards, with a reason and words; `None` if none of them has several replicas.
pub(super) fn of(shards: &[&ShardView]) -> Option<(Holds, &'static str, String)> {
    let mut unknown = None;
    let mut several = false;
    for view in shards {
        for state in &view.states {
            several = true;
            let votes = matches!(state.role, ReplicaRole::Primary | ReplicaRole::Follower);
            // One whose pod is not ready is asked nothing.
            if !votes || !state.ready {
                continue;
            }
            let number = labels::replica_number(&state.name).unwrap_or_default();
            let set = labels::replica_name(&view.name, number);
            match view.told.replicas.get(&number).and_then(|told| told.late) {
                Some(false) => {}
                Some(true) => {
                    let words = format!(
                        "replica {set} shows what was acknowledged later than replication.visibilitySla"
                    );
                    return Some((Some(false), reason::LATE, words));
                }
                None => {
                    unknown.get_or_insert_with(|| format!("replica {set} did not tell yet"));
                }
            }
        }
    }
    match unknown {
        _ if !several => None,
        Some(words) => Some((None, reason::NOT_KNOWN, words)),
        None => Some((
            Some(true),
            reason::IN_TIME,
            "every replica that serves shows what was acknowledged in time".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use shoal_crds::shard::ReplicaState;

    use super::*;
    use crate::told::{ReplicaTold, ShardTold};

    fn view(late: &[Option<bool>], ready: bool) -> ShardView {
        let state = |number: usize| ReplicaState {
            name: format!("r{number}"),
            role: ReplicaRole::Follower,
            ready,
            log: None,
            behind_ops: None,
            node: None,
            node_lost_since: None,
            moving: false,
        };
        let told = |&late: &Option<bool>| ReplicaTold { late, ..ReplicaTold::default() };
        ShardView {
            name: "c-0".into(),
            states: (0..late.len()).map(state).collect(),
            told: ShardTold {
                replicas: (0..).zip(late.iter().map(told)).collect(),
                ..ShardTold::default()
            },
            ..ShardView::default()
        }
    }

    fn holds(views: &[ShardView]) -> Option<Holds> {
        of(&views.iter().collect::<Vec<_>>()).map(|(holds, _, _)| holds)
    }

    #[test]
    fn one_that_is_late_is_named_and_counts_more_than_one_that_did_not_tell() {
        let late = view(&[Some(false), None, Some(true)], true);
        let (holds, reason, words) = of(&[&late]).expect("told");
        assert_eq!((holds, reason), (Some(false), reason::LATE));
        assert!(words.contains("replica c-0-r2 shows"), "{words}");
    }

    #[test]
    fn it_holds_where_all_that_serve_say_so_and_is_not_known_where_one_does_not() {
        let well = view(&[Some(false); 3], true);
        assert_eq!(holds(std::slice::from_ref(&well)), Some(Some(true)));
        assert_eq!(holds(&[well.clone(), view(&[Some(false), None], true)]), Some(None));
        assert_eq!(
            holds(&[well, view(&[Some(true)], false)]),
            Some(Some(true)),
            "it does not serve"
        );
        assert_eq!(holds(&[ShardView::default()]), None, "a lone shard shows what it has");
    }
}
