//! Ops that come again, and answers before the commit.

use super::*;
use crate::{RECENT_OPS, Recent};

fn propose(id: u64, client_id: u64, op_id: u64) -> Input {
    Input::Propose { id, client_id, op_id, body: Bytes::new() }
}

fn answers(effects: &[Effect]) -> Vec<(u64, Answer)> {
    let answer = |effect: &Effect| match effect {
        Effect::Answer(id, answer) => Some((*id, *answer)),
        _ => None,
    };
    effects.iter().filter_map(answer).collect()
}

#[test]
fn the_commit_of_the_last_op_is_told_with_the_next_tick_and_once() {
    let mut alone = Alone::leading(5);
    let told = |effects: &[Effect]| -> Vec<(u128, Seq)> {
        let commit = |(to, body): &(u128, Body)| match body {
            Body::Append { entries, commit, .. } if entries.is_empty() => Some((*to, *commit)),
            _ => None,
        };
        sent(effects).iter().filter_map(commit).collect()
    };
    alone.acked(2, 5, 2, 1);
    assert_eq!(told(&alone.step(Input::Tick)), [(2, 2)], "who has all of it shows it");
    assert_eq!(told(&alone.step(Input::Tick)), [], "who was told is not told again");
    alone.acked(3, 5, 2, 2);
    assert_eq!(told(&alone.step(Input::Tick)), [(3, 2)], "the slower one, too");
}

#[test]
fn an_op_that_comes_again_is_appended_once_and_all_who_sent_it_are_answered() {
    let mut alone = Alone::leading(5);
    alone.acked(2, 5, 2, 1);
    for id in [1, 2] {
        assert_eq!(answers(&alone.step(propose(id, 7, 1))), []);
    }
    alone.step(propose(3, 7, 2));
    // Of client 0 each is another.
    alone.step(propose(4, 0, 1));
    alone.step(propose(5, 0, 1));
    assert_eq!(alone.replica.status().last, 6);
    alone.step(Input::Durable(99));
    let committed = |id, seq| (id, Answer::Committed(seq));
    let told = answers(&alone.acked(2, 5, 4, 1));
    assert_eq!(told, [committed(1, 3), committed(2, 3), committed(3, 4)]);
    let effects = alone.step(propose(6, 7, 1));
    assert_eq!(answers(&effects), [committed(6, 3)], "known to be committed");
    // What waits when the epoch ends may be committed yet.
    let told = answers(&alone.receive(3, Body::Fence(epoch(6))));
    assert_eq!(told, [(4, Answer::Unknown), (5, Answer::Unknown)]);
}

#[test]
fn an_op_of_an_earlier_primary_is_waited_for_and_one_that_was_cut_is_not() {
    let entry = |number, seq| {
        let what = crate::What::Op { client_id: 7, op_id: seq, body: Bytes::new() };
        Entry { at: Position { epoch: epoch(number), seq }, what }
    };
    let base = Position { epoch: epoch(1), seq: 1 };
    let recent = vec![Recent { client_id: 8, op_id: 8, seq: 1 }];
    let entries = vec![entry(1, 2), entry(1, 3)];
    let restored = Restored { base, entries, recent, config: None };
    let replica = Replica::new(identity(1), Settings::default(), epoch(1), restored, 0, 3);
    let mut alone = Alone { replica, now: 0 };
    // The next primary has the first of them alone.
    alone.receive(2, append(3, (1, 2), &[(3, 3)], 0));
    let phase = Phase::Stable { primary: identity(1) };
    alone.receive(2, Body::Fence(epoch(5)));
    let register = Register { epoch: epoch(5), phase, members: members() };
    let found = Some((Version("1".into()), register));
    alone.step(Input::Register { found, live: true });
    assert_eq!(answers(&alone.step(propose(1, 7, 2))), [], "before the no-op is committed, too");
    assert_eq!(answers(&alone.step(propose(2, 7, 3))), [(2, Answer::Refused(Refusal::NotYet))]);
    assert_eq!(answers(&alone.step(propose(3, 8, 8))), [(3, Answer::Committed(1))]);
    alone.step(Input::Durable(99));
    assert_eq!(answers(&alone.acked(2, 5, 5, 1)), [(1, Answer::Committed(2))]);
    alone.step(propose(2, 7, 3));
    assert_eq!(alone.replica.log().find(7, 3), Some(6));
}

#[test]
fn a_snapshot_brings_the_ops_that_are_recognised() {
    let mut alone = Alone::new(epoch(3));
    let at = Position { epoch: epoch(3), seq: 10 + RECENT_OPS };
    alone.step(Input::Offered { from: disk(2), epoch: epoch(3), at });
    let op = |seq| Recent { client_id: 7, op_id: seq, seq };
    let recent = vec![op(9), op(11), op(at.seq), op(at.seq + 1)];
    alone.step(Input::Installed { at, config: None, recent });
    assert_eq!(alone.replica.log().recent(u64::MAX), [op(11), op(at.seq)]);
}

#[test]
fn with_acks_of_the_primary_a_write_is_answered_once_durable_there_and_the_lag_is_bounded() {
    let mut alone = Alone::leading(5);
    alone.replica.settings.acks = Acks::Primary { max_lag: 2 };
    assert_eq!(answers(&alone.step(propose(1, 7, 1))), [(1, Answer::Refused(Refusal::NotYet))]);
    alone.acked(2, 5, 2, 1);
    assert_eq!(answers(&alone.step(propose(1, 7, 1))), []);
    assert_eq!(answers(&alone.step(propose(2, 7, 2))), []);
    assert_eq!(answers(&alone.step(propose(3, 7, 3))), [(3, Answer::Refused(Refusal::Busy))]);
    let durable = [(1, Answer::Durable(3)), (2, Answer::Durable(4))];
    assert_eq!(answers(&alone.step(Input::Durable(99))), durable);
    assert_eq!(answers(&alone.step(propose(4, 7, 2))), [(4, Answer::Durable(4))]);
    alone.acked(2, 5, 3, 1);
    assert_eq!(answers(&alone.step(propose(5, 7, 1))), [(5, Answer::Committed(3))]);
    assert_eq!(answers(&alone.step(propose(6, 7, 3))), [], "there is room again");
}

#[test]
fn strong_reads_that_wait_are_bounded() {
    let mut alone = Alone::leading(5);
    alone.acked(2, 5, 2, 1);
    let refused = |effects: Vec<Effect>| {
        effects.iter().any(|effect| matches!(effect, Effect::ReadAt(_, Err(Refusal::Busy))))
    };
    let taken = (0..20_000).find(|&id| refused(alone.step(Input::Read(id))));
    assert_eq!(taken, Some(10_004), "four rounds, and those that wait for the next");
}
