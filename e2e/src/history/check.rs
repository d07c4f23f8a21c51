//! What a history must be, however the run went: linearizable per point, without loss at the end, without values that
//! nobody wrote, and without acks or strong reads of a replica that was cut off.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Action::{self, Delete, Merge, Strong, Upsert};
use super::linear;
use super::{CutOff, Outcome, Record, State};

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Acked writes that the end of the history does not have.
    pub lost: u64,
    /// What is wrong, a line each.
    pub violations: Vec<String>,
}

/// Checks a history whose end is a strong read of every point.
pub fn check(records: &[Record], cut_off: &[CutOff]) -> Verdict {
    let mut keys: BTreeMap<u64, Vec<Record>> = BTreeMap::new();
    for record in records {
        keys.entry(record.key).or_default().push(*record);
    }
    let mut verdict = Verdict::default();
    for (key, ops) in &keys {
        if let Err(found) = linear::check(ops) {
            verdict.violations.push(format!(
                "point {key} is not linearizable: no order of the ops explains {:?}; it could have been {:?}",
                found.record, found.possible
            ));
        }
        verdict.lost += lost(ops);
        phantoms(*key, ops, &mut verdict.violations);
    }
    acks_alone(records, cut_off, &mut verdict.violations);
    verdict
}

/// How many acked writes of a point its last read misses: those that began after what it saw was certainly written. None
/// if an order of the writes ends in what it saw, unless it is the first read that no order explains.
fn lost(ops: &[Record]) -> u64 {
    let read =
        |record: &&Record| record.action == Strong && matches!(record.outcome, Outcome::Saw(_));
    let Some(end) = ops.iter().filter(read).max_by_key(|record| record.returned) else { return 0 };
    let Outcome::Saw(state) = end.outcome else { return 0 };
    // The other reads count for this alone: what one of them saw was done by then.
    let by = linear::demanded(ops).into_iter();
    let mut writes: Vec<Record> = ops
        .iter()
        .zip(by)
        .filter(|(record, _)| record.action.is_write())
        .map(|(record, by)| match (record.outcome, by) {
            (Outcome::Open, Some(returned)) => {
                Record { outcome: Outcome::Done, returned, ..*record }
            }
            _ => *record,
        })
        .collect();
    writes.push(*end);
    let at_the_end = |found: &linear::Violation| found.record.returned == end.returned;
    if linear::check(&writes).is_ok() && !linear::check(ops).is_err_and(|v| at_the_end(&v)) {
        return 0;
    }
    let last = |is: &dyn Fn(&Action) -> bool| {
        let done = writes.iter().filter(|w| w.outcome == Outcome::Done && is(&w.action));
        done.map(|record| record.returned).max()
    };
    let set = match state {
        None => last(&|action| *action == Delete),
        Some(_) => last(&|action| matches!(action, Upsert(_)) && action.shows_in(state)),
    };
    let set = set.unwrap_or(0);
    let merged = last(&|action| matches!(action, Merge(_)) && action.shows_in(state));
    let missed = |record: &&Record| match record.action {
        Merge(_) => record.invoked >= merged.unwrap_or(set),
        _ => record.invoked >= set,
    };
    let acked = ops.iter().filter(|r| r.action.is_write() && r.outcome == Outcome::Done);
    acked.filter(missed).count() as u64
}

/// Values that were read and that nobody had sent by then, or whose write is known not to have been done.
fn phantoms(key: u64, ops: &[Record], violations: &mut Vec<String>) {
    let mut sent: HashMap<u64, &Record> = HashMap::new();
    for record in ops {
        if let Upsert(number) | Merge(number) = record.action {
            sent.insert(number, record);
        }
    }
    for record in ops {
        let Outcome::Saw(Some(value)) = record.outcome else { continue };
        let known = |number: u64, is: fn(Action) -> bool| {
            sent.get(&number).is_some_and(|write| {
                write.invoked <= record.returned
                    && write.outcome != Outcome::NotDone
                    && is(write.action)
            })
        };
        let whole = known(value.number, |action| matches!(action, Upsert(_)))
            && value.merged.is_none_or(|number| known(number, |a| matches!(a, Merge(_))));
        if !whole {
            violations.push(format!("point {key}: {record:?} saw what nobody wrote"));
        }
    }
}

/// Answers that need other replicas, of one that reached none.
fn acks_alone(records: &[Record], cut_off: &[CutOff], violations: &mut Vec<String>) {
    for cut in cut_off {
        let alone = |record: &&Record| {
            let needs_others = match record.outcome {
                Outcome::Done => true,
                Outcome::Saw(_) => record.action == Strong,
                _ => false,
            };
            let then = record.sent >= cut.from && record.returned <= cut.to;
            needs_others && then && record.by == cut.replica
        };
        violations.extend(
            records
                .iter()
                .filter(alone)
                .map(|record| format!("answered while cut off: {record:?}")),
        );
    }
}

/// Where a replica differs from what strong reads of all points say, a line each.
pub fn differences(
    strong: &BTreeMap<u64, State>,
    replica: usize,
    holds: &BTreeMap<u64, State>,
) -> Vec<String> {
    let of = |points: &BTreeMap<u64, State>, key| points.get(&key).copied().flatten();
    let keys: BTreeSet<u64> = strong.keys().chain(holds.keys()).copied().collect();
    let differs = |key: &u64| of(strong, *key) != of(holds, *key);
    let line = |key: u64| {
        let (has, should) = (of(holds, key), of(strong, key));
        format!("replica {replica} holds {has:?} of point {key}, not {should:?}")
    };
    keys.into_iter().filter(differs).map(line).collect()
}
