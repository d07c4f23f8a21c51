//! Rules that a few messages show. What many show is simulated in `dataplane/sim`.

mod proposals;
mod register;

use bytes::Bytes;

use super::*;
use crate::{CasOutcome, Entry, Members, Phase, Position, Promise, Write};

fn disk(id: u128) -> DiskId {
    DiskId(id)
}

fn identity(id: u128) -> Identity {
    Identity { disk: disk(id), incarnation: crate::Incarnation(id as u64) }
}

fn epoch(number: u64) -> Epoch {
    Epoch { number, nonce: 0 }
}

fn members() -> Members {
    Members::majority(1, vec![disk(1), disk(2), disk(3)]).unwrap()
}

/// Replica 1 of three.
struct Alone {
    replica: Replica,
    now: Millis,
}

impl Alone {
    fn new(promised: Epoch) -> Self {
        let settings = Settings::default();
        let mut replica = Replica::new(identity(1), settings, promised, Restored::default(), 0, 3);
        replica.step(0, 0, Input::Tick);
        Self { replica, now: 0 }
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        self.now += 1;
        self.replica.step(self.now, self.now, input)
    }

    fn receive(&mut self, from: u128, body: Body) -> Vec<Effect> {
        self.step(Input::Received(Message { from: identity(from), body }))
    }

    /// Elected in an epoch, its no-op durable here and nowhere else.
    fn leading(number: u64) -> Self {
        let mut alone = Self::new(epoch(number));
        let phase = Phase::Stable { primary: identity(1) };
        let register = Register { epoch: epoch(number), phase, members: members() };
        let found = Some((Version("1".into()), register));
        alone.step(Input::Register { found, live: true });
        assert_eq!(alone.replica.status().role, Role::Primary);
        alone.step(Input::Durable(99));
        alone
    }

    fn acked(&mut self, from: u128, number: u64, matched: Seq, round: u64) -> Vec<Effect> {
        self.receive(from, Body::Appended { epoch: epoch(number), matched, round })
    }
}

fn sent(effects: &[Effect]) -> Vec<(u128, Body)> {
    let mut all = vec![];
    for effect in effects {
        if let Effect::Send(to, message) = effect {
            all.push((to.0, message.body.clone()));
        }
    }
    all
}

fn append(number: u64, prev: (u64, Seq), entries: &[(u64, Seq)], commit: Seq) -> Body {
    let position = |&(number, seq): &(u64, Seq)| Position { epoch: epoch(number), seq };
    let entry = |at: &(u64, Seq)| Entry { at: position(at), what: crate::What::NoOp };
    let entries = entries.iter().map(entry).collect();
    Body::Append { epoch: epoch(number), prev: position(&prev), entries, commit, round: 1 }
}

#[test]
fn a_promise_is_given_once_it_is_durable_and_again_when_asked_again() {
    let mut alone = Alone::new(Epoch::NONE);
    let effects = alone.receive(2, Body::Fence(epoch(4)));
    assert_eq!(effects, [Effect::Write(1, Write::Promise(epoch(4)))]);
    let promise = Promise { epoch: epoch(4), last: Position::default(), config: None };
    let given = [(2, Body::Promise(promise.clone()))];
    assert_eq!(sent(&alone.step(Input::Durable(1))), given);
    assert_eq!(sent(&alone.receive(2, Body::Fence(epoch(4)))), given);
    let refused = Body::Refused { epoch: epoch(3), promised: epoch(4) };
    assert_eq!(sent(&alone.receive(3, Body::Fence(epoch(3)))), [(3, refused)]);
    // Another claim of the same number is another epoch.
    let other = Epoch { number: 4, nonce: 9 };
    let refused = Body::Refused { epoch: other, promised: epoch(4) };
    assert_eq!(sent(&alone.receive(3, Body::Fence(other))), [(3, refused)]);
}

#[test]
fn an_append_is_acknowledged_up_to_its_end_once_durable() {
    let mut alone = Alone::new(Epoch::NONE);
    let effects = alone.receive(2, append(1, (0, 0), &[(1, 1), (1, 2), (1, 3)], 0));
    assert!(sent(&effects).is_empty(), "{effects:?}");
    // The same again, shorter, while the first is on its way to the disk: nothing may be said yet either.
    let effects = alone.receive(2, append(1, (0, 0), &[(1, 1)], 0));
    assert!(effects.is_empty(), "{effects:?}");
    let acks = sent(&alone.step(Input::Durable(2)));
    let ack = |matched| (2, Body::Appended { epoch: epoch(1), matched, round: 1 });
    assert_eq!(acks, [ack(3), ack(1)]);
    assert_eq!(alone.replica.status().last, 3, "nothing was cut");
}

#[test]
fn what_no_primary_sends_is_not_answered() {
    let mut alone = Alone::new(Epoch::NONE);
    let gap = append(1, (0, 0), &[(1, 1), (1, 3)], 0);
    let back = append(3, (0, 0), &[(2, 1), (1, 2)], 0);
    let beyond = append(1, (0, 0), &[(2, 1)], 0);
    let end = append(1, (1, u64::MAX), &[(1, 0)], u64::MAX);
    for body in [gap, back, beyond, end] {
        assert_eq!(alone.receive(2, body), []);
    }
    assert_eq!(alone.replica.status().last, 0);
    let mut primary = Alone::leading(5);
    primary.acked(2, 5, u64::MAX, u64::MAX);
    assert_eq!(primary.replica.status().commit, 0, "that was never sent");
}

#[test]
fn what_contradicts_a_later_primary_is_cut_unless_it_was_committed() {
    let mut alone = Alone::new(Epoch::NONE);
    alone.receive(2, append(1, (0, 0), &[(1, 1), (1, 2), (1, 3)], 1));
    alone.step(Input::Durable(99));
    let effects = alone.receive(3, append(2, (1, 1), &[(2, 2)], 1));
    assert!(effects.contains(&Effect::Write(4, Write::Cut(1))), "{effects:?}");
    assert_eq!(alone.replica.status().last, 2);
    let effects = alone.receive(2, append(3, (0, 0), &[(3, 1)], 0));
    assert!(matches!(effects.last(), Some(Effect::Quarantine(why)) if why.contains("entry 1")));
    assert_eq!(alone.replica.status().role, Role::Quarantined);
    let Some(Effect::ReadAt(7, Err(_))) = alone.step(Input::Read(7)).pop() else { panic!() };
}

#[test]
fn nothing_is_committed_before_the_no_op_is() {
    let mut alone = Alone::leading(5);
    let propose = |id| Input::Propose { id, client_id: 0, op_id: id, body: Bytes::new() };
    let refused = Effect::Answer(1, Answer::Refused(Refusal::NotYet));
    assert_eq!(alone.step(propose(1)).first(), Some(&refused));
    assert_eq!(alone.step(Input::Read(1)), [Effect::ReadAt(1, Err(Refusal::NotYet))]);
    // The no-op and the first members.
    let effects = alone.acked(2, 5, 2, 1);
    assert!(effects.contains(&Effect::Commit(2)), "{effects:?}");
    assert!(alone.step(propose(2)).iter().all(|effect| !matches!(effect, Effect::Answer(..))));
    assert!(!alone.acked(3, 5, 3, 1).contains(&Effect::Commit(3)), "not durable here");
    let effects = alone.step(Input::Durable(99));
    assert!(effects.contains(&Effect::Answer(2, Answer::Committed(3))), "{effects:?}");
}

#[test]
fn an_answer_of_another_epoch_counts_for_nothing() {
    let mut alone = Alone::leading(5);
    alone.acked(2, 4, 2, 1);
    assert_eq!(alone.replica.status().commit, 0);
}

#[test]
fn a_strong_read_waits_for_answers_to_what_was_sent_after_it() {
    let mut alone = Alone::leading(5);
    alone.acked(2, 5, 2, 1);
    let mut round = 0;
    for (to, body) in sent(&alone.step(Input::Read(1))) {
        if let (2, Body::Append { round: sent, .. }) = (to, body) {
            round = sent;
        }
    }
    // An answer to what was sent when the epoch began says nothing of what was promised since.
    let effects = alone.acked(3, 5, 2, 2);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::ReadAt(..))), "{effects:?}");
    let effects = alone.acked(2, 5, 2, round);
    assert!(effects.contains(&Effect::ReadAt(1, Ok(2))), "{effects:?}");
}

#[test]
fn a_primary_that_promised_a_later_epoch_answers_unknown_and_never_leads_again() {
    let mut alone = Alone::leading(5);
    alone.acked(2, 5, 2, 1);
    alone.step(Input::Propose { id: 9, client_id: 0, op_id: 9, body: Bytes::new() });
    let effects = alone.receive(2, Body::Fence(epoch(6)));
    assert!(effects.contains(&Effect::Answer(9, Answer::Unknown)), "{effects:?}");
    let phase = Phase::Stable { primary: identity(1) };
    let register = Register { epoch: epoch(5), phase, members: members() };
    let found = Some((Version("1".into()), register));
    alone.step(Input::Register { found, live: true });
    assert_ne!(alone.replica.status().role, Role::Primary);
}

#[test]
fn a_primary_whose_disk_hangs_has_another_take_over_and_steps_down_if_nobody_does() {
    let mut alone = Alone::leading(5);
    alone.acked(2, 5, 2, 1);
    alone.step(Input::Propose { id: 9, client_id: 0, op_id: 9, body: Bytes::new() });
    let mut asked = false;
    for _ in 0..100 {
        alone.now += 50;
        for (to, body) in sent(&alone.step(Input::Tick)) {
            match body {
                Body::TakeOver(by) => {
                    assert_eq!((by, alone.replica.status().leads), (epoch(5), Some(epoch(5))));
                    asked = true;
                }
                // The others' disks are well.
                Body::Append { round, .. } => drop(alone.acked(to, 5, 3, round)),
                _ => {}
            }
        }
    }
    assert!(asked);
    assert_ne!(alone.replica.status().role, Role::Primary);
}

#[test]
fn a_primary_whose_disk_is_no_slower_than_the_others_leads_on() {
    let mut alone = Alone::leading(5);
    alone.acked(2, 5, 2, 1);
    let mut round = 1;
    for seq in 3..100 {
        alone.step(Input::Propose { id: seq, client_id: 0, op_id: seq, body: Bytes::new() });
        alone.now += 50;
        for (_, body) in sent(&alone.step(Input::Tick)) {
            assert!(!matches!(body, Body::TakeOver(_)), "{body:?}");
            if let Body::Append { round: sent, .. } = body {
                round = sent;
            }
        }
        alone.acked(2, 5, seq, round);
        // Always a moment later, and never far behind.
        alone.step(Input::Durable(seq));
    }
    assert_eq!(alone.replica.status().role, Role::Primary);
}

#[test]
fn a_primary_without_a_quorum_steps_down() {
    let mut alone = Alone::leading(5);
    alone.acked(2, 5, 2, 1);
    for _ in 0..100 {
        alone.now += 50;
        alone.step(Input::Tick);
    }
    assert_ne!(alone.replica.status().role, Role::Primary);
}
