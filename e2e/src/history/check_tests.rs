//! The checks against histories made by hand, good and bad.

use std::collections::BTreeMap;

use super::check::{check, differences};
use super::{Action, CutOff, Outcome, Record, State, Value};

fn at(number: u64) -> State {
    Some(Value { number, merged: None })
}

/// An op of point 0 from one time to another.
fn op(action: Action, outcome: Outcome, invoked: u64, returned: u64) -> Record {
    Record { key: 0, client: 0, op: 0, action, invoked, sent: invoked, returned, by: 0, outcome }
}

fn upsert(number: u64, invoked: u64, returned: u64) -> Record {
    op(Action::Upsert(number), Outcome::Done, invoked, returned)
}

fn merge(number: u64, invoked: u64, returned: u64) -> Record {
    op(Action::Merge(number), Outcome::Done, invoked, returned)
}

fn delete(invoked: u64, returned: u64) -> Record {
    op(Action::Delete, Outcome::Done, invoked, returned)
}

fn strong(state: State, invoked: u64, returned: u64) -> Record {
    op(Action::Strong, Outcome::Saw(state), invoked, returned)
}

fn any(state: State, invoked: u64, returned: u64) -> Record {
    op(Action::Any, Outcome::Saw(state), invoked, returned)
}

fn open(record: Record) -> Record {
    Record { outcome: Outcome::Open, ..record }
}

fn refused(record: Record) -> Record {
    Record { outcome: Outcome::NotDone, ..record }
}

#[track_caller]
fn good(records: &[Record]) {
    let verdict = check(records, &[]);
    assert!(verdict.violations.is_empty() && verdict.lost == 0, "{verdict:?}");
}

/// That it is bad, by this text, with so many lost.
#[track_caller]
fn bad(records: &[Record], text: &str, lost: u64) {
    let verdict = check(records, &[]);
    assert!(verdict.violations.iter().any(|line| line.contains(text)), "{verdict:?}");
    assert_eq!(verdict.lost, lost, "{verdict:?}");
}

const ORDER: &str = "is not linearizable";

#[test]
fn ops_one_after_another_are_what_the_last_one_left() {
    let merged = Some(Value { number: 1, merged: Some(2) });
    good(&[
        strong(None, 0, 1),
        merge(9, 2, 3),
        strong(None, 4, 5),
        upsert(1, 6, 7),
        strong(at(1), 8, 9),
        merge(2, 10, 11),
        strong(merged, 12, 13),
        delete(14, 15),
        strong(None, 16, 17),
        upsert(3, 18, 19),
        strong(at(3), 20, 21),
    ]);
}

#[test]
fn ops_at_once_may_come_in_either_order_but_in_the_same_for_all_who_look() {
    let both = [upsert(1, 0, 10), upsert(2, 0, 10)];
    good(&[both[0], both[1], strong(at(1), 11, 12)]);
    good(&[both[0], both[1], strong(at(2), 11, 12)]);
    good(&[both[0], both[1], strong(at(1), 1, 2), strong(at(2), 3, 4)]);
    bad(&[both[0], both[1], strong(at(1), 11, 12), strong(at(2), 13, 14)], ORDER, 0);
    bad(
        &[both[0], both[1], strong(at(1), 1, 2), strong(at(2), 3, 4), strong(at(1), 5, 6)],
        ORDER,
        0,
    );
}

#[test]
fn a_lost_write_is_found_and_counted() {
    bad(&[upsert(1, 0, 1), upsert(2, 2, 3), strong(at(1), 4, 5)], ORDER, 1);
    bad(&[upsert(1, 0, 1), upsert(2, 2, 3), merge(3, 4, 5), strong(at(1), 6, 7)], ORDER, 2);
    bad(&[upsert(1, 0, 1), strong(None, 2, 3)], ORDER, 1);
    bad(&[upsert(1, 0, 1), delete(2, 3), strong(at(1), 4, 5)], ORDER, 1);
    bad(&[upsert(1, 0, 1), merge(2, 2, 3), strong(at(1), 4, 5)], ORDER, 1);
}

#[test]
fn a_stale_strong_read_is_found_where_nothing_is_lost() {
    bad(&[upsert(1, 0, 1), upsert(2, 2, 3), strong(at(1), 4, 5), strong(at(2), 6, 7)], ORDER, 0);
    // Two reads, the later of which sees less, while the write is still under way.
    bad(
        &[
            upsert(1, 0, 1),
            upsert(2, 2, 20),
            strong(at(2), 3, 4),
            strong(at(1), 5, 6),
            strong(at(2), 21, 22),
        ],
        ORDER,
        0,
    );
}

#[test]
fn a_value_that_comes_back_is_found() {
    let history = [upsert(1, 0, 1), upsert(2, 2, 3), strong(at(2), 4, 5), strong(at(1), 6, 7)];
    bad(&history, ORDER, 1);
    // A write that was repeated and done twice.
    let twice = [
        upsert(1, 0, 20),
        strong(at(1), 1, 2),
        upsert(2, 3, 4),
        strong(at(2), 5, 6),
        strong(at(1), 7, 8),
        upsert(3, 21, 22),
        strong(at(3), 23, 24),
    ];
    bad(&twice, ORDER, 0);
    bad(&[upsert(1, 0, 1), delete(2, 3), strong(None, 4, 5), strong(at(1), 6, 7)], ORDER, 1);
}

#[test]
fn a_value_that_nobody_wrote_is_found() {
    const PHANTOM: &str = "saw what nobody wrote";
    bad(&[upsert(1, 0, 1), any(at(7), 2, 3), strong(at(1), 4, 5)], PHANTOM, 0);
    // Not yet asked for, refused, or not of this kind.
    bad(&[any(at(1), 0, 1), upsert(1, 2, 3), strong(at(1), 4, 5)], PHANTOM, 0);
    bad(&[refused(upsert(1, 0, 1)), any(at(1), 2, 3)], PHANTOM, 0);
    let crossed = Some(Value { number: 2, merged: None });
    bad(&[upsert(1, 0, 1), merge(2, 2, 3), any(crossed, 4, 5)], PHANTOM, 0);
}

#[test]
fn a_read_of_any_replica_may_be_stale() {
    good(&[
        upsert(1, 0, 1),
        upsert(2, 2, 3),
        any(at(1), 4, 5),
        any(None, 6, 7),
        strong(at(2), 8, 9),
    ]);
}

#[test]
fn what_any_replica_shows_is_committed() {
    let shown = [upsert(1, 0, 1), open(upsert(2, 2, 3)), any(at(2), 4, 5)];
    good(&[shown[0], shown[1], shown[2], strong(at(2), 6, 7)]);
    bad(&[shown[0], shown[1], shown[2], strong(at(1), 6, 7)], ORDER, 0);
}

#[test]
fn an_op_of_unknown_outcome_happened_once_at_any_later_time_or_never() {
    let unknown = open(upsert(2, 2, 3));
    good(&[upsert(1, 0, 1), unknown, strong(at(1), 4, 5)]);
    good(&[upsert(1, 0, 1), unknown, strong(at(1), 4, 5), strong(at(2), 6, 7)]);
    // Nobody was told that it is done, so that nothing acked is lost; but it was seen.
    bad(&[upsert(1, 0, 1), unknown, strong(at(2), 4, 5), strong(at(1), 6, 7)], ORDER, 0);
    bad(
        &[upsert(1, 0, 1), unknown, strong(at(2), 4, 5), upsert(3, 6, 7), strong(at(2), 8, 9)],
        ORDER,
        1,
    );
    let gone = open(delete(2, 3));
    good(&[upsert(1, 0, 1), gone, strong(at(1), 4, 5), strong(None, 6, 7)]);
    // One delete cannot empty it twice. As it may not have happened at all, both upserts count as lost.
    let twice = [upsert(1, 0, 1), gone, strong(None, 4, 5), upsert(2, 6, 7), strong(None, 8, 9)];
    bad(&twice, ORDER, 2);
    good(&[twice[0], gone, gone, twice[2], twice[3], twice[4]]);
}

#[test]
fn many_ops_of_unknown_outcome_are_no_burden() {
    let mut records: Vec<Record> = Vec::new();
    for n in 0..2000 {
        let time = n * 10;
        records.push(upsert(2 * n + 1, time, time + 1));
        records.push(open(upsert(2 * n + 2, time + 2, time + 3)));
        records.push(open(delete(time + 2, time + 3)));
        let seen = if n % 7 == 0 { at(2 * n + 2) } else { at(2 * n + 1) };
        records.push(strong(seen, time + 4, time + 5));
    }
    good(&records);
    records.push(strong(at(1), 1_000_000, 1_000_001));
    assert_eq!(check(&records, &[]).violations.len(), 1);
}

#[test]
fn an_op_that_was_refused_had_no_effect() {
    good(&[upsert(1, 0, 1), refused(upsert(2, 2, 3)), refused(delete(4, 5)), strong(at(1), 6, 7)]);
    bad(&[upsert(1, 0, 1), refused(delete(4, 5)), strong(None, 6, 7)], ORDER, 1);
}

#[test]
fn answers_of_a_replica_that_is_cut_off_are_found() {
    let cut = CutOff { replica: 0, from: 10, to: 20 };
    let found = |record: Record| check(&[upsert(1, 0, 1), record], &[cut]).violations.len();
    assert_eq!(found(upsert(2, 11, 12)), 1);
    assert_eq!(found(strong(at(1), 11, 12)), 1);
    assert_eq!(found(any(at(1), 11, 12)), 0);
    assert_eq!(found(open(upsert(2, 11, 12))), 0);
    assert_eq!(found(Record { by: 1, ..upsert(2, 11, 12) }), 0);
    // Sent before, others may have it; answered after, they may have it by then.
    assert_eq!(found(upsert(2, 9, 12)), 0);
    assert_eq!(found(upsert(2, 11, 21)), 0);
}

#[test]
fn replicas_that_hold_something_else_are_named() {
    let of = |states: &[(u64, State)]| -> BTreeMap<u64, State> { states.iter().copied().collect() };
    let strong = of(&[(0, at(1)), (1, None), (2, at(3))]);
    let same = of(&[(0, at(1)), (2, at(3))]);
    assert!(
        differences(&strong, 0, &same).is_empty() && differences(&strong, 1, &strong).is_empty()
    );
    let missing = of(&[(0, at(1))]);
    let more = of(&[(0, at(1)), (1, at(2)), (2, at(3)), (7, at(9))]);
    assert_eq!(differences(&strong, 0, &missing).len(), 1);
    assert_eq!(differences(&strong, 1, &more).len(), 2);
}
