//! Answers of the register that are late, missing or older than what is known.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::{Config, What};

fn register(epoch: Epoch, primary: Option<u128>, members: Members) -> Register {
    let phase = match primary {
        Some(primary) => Phase::Stable { primary: identity(primary) },
        None => Phase::Electing,
    };
    Register { epoch, phase, members }
}

fn swap(effects: &[Effect]) -> Option<(Version, Register)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Swap(version, wanted) => Some((version.clone(), wanted.clone())),
        _ => None,
    })
}

fn promise(epoch: Epoch, last: (u64, Seq)) -> Body {
    let last = Position { epoch: super::epoch(last.0), seq: last.1 };
    Body::Promise(Promise { epoch, last, config: None })
}

impl Alone {
    fn see(&mut self, version: &str, register: Register, live: bool) -> Vec<Effect> {
        self.step(Input::Register { found: Some((Version(version.into()), register)), live })
    }

    fn done(&mut self, wanted: &Register, version: &str) -> Vec<Effect> {
        let outcome = CasOutcome::Done(Version(version.into()));
        self.step(Input::Swapped { wanted: wanted.clone(), outcome })
    }

    fn wait(&mut self, ms: Millis) -> Vec<Effect> {
        self.now += ms;
        self.step(Input::Tick)
    }

    /// Misses the primary and claims an epoch, which it gives.
    fn claim(&mut self) -> Register {
        let before = register(epoch(3), Some(2), members());
        self.see("1", before.clone(), true);
        self.wait(5_000);
        self.receive(2, Body::Heard { silent: true, promised: epoch(3) });
        swap(&self.see("1", before, true)).expect("it claims").1
    }
}

#[test]
fn a_late_answer_to_a_claim_does_not_elect_a_second_time() {
    let mut alone = Alone::new(epoch(3));
    let claimed = alone.claim();
    alone.wait(2_000);
    alone.see("2", claimed.clone(), true);
    alone.step(Input::Durable(99));
    let (version, seated) = swap(&alone.receive(2, promise(claimed.epoch, (3, 7)))).unwrap();
    assert_eq!((version.0.as_str(), seated.primary()), ("2", Some(identity(2))));
    alone.done(&seated, "3");
    alone.done(&claimed, "2");
    alone.see("3", seated, false);
    assert_eq!(swap(&alone.receive(3, promise(claimed.epoch, (0, 0)))), None);
}

#[test]
fn nobody_is_seated_over_a_later_epoch() {
    let mut alone = Alone::new(epoch(3));
    let claimed = alone.claim();
    alone.done(&claimed, "2");
    alone.step(Input::Durable(99));
    let later = Epoch { number: claimed.epoch.number + 1, nonce: 77 };
    alone.see("9", register(later, Some(3), members()), false);
    assert_eq!(swap(&alone.receive(2, promise(claimed.epoch, (3, 7)))), None);
}

#[test]
fn a_primary_gives_way_to_another_epoch_of_its_number() {
    let mut alone = Alone::leading(5);
    alone.acked(2, 5, 2, 1);
    let promised = Epoch { number: 5, nonce: 9 };
    alone.receive(3, Body::Refused { epoch: epoch(5), promised });
    assert_ne!(alone.replica.status().role, Role::Primary);
}

#[test]
fn a_register_that_was_set_back_is_noticed_by_the_primary() {
    let mut alone = Alone::leading(5);
    let old = register(epoch(4), Some(2), members());
    let mut asked = alone.see("x", old.clone(), false).contains(&Effect::ReadRegister);
    for round in 0..40 {
        asked |= alone.wait(100).contains(&Effect::ReadRegister);
        alone.acked(2, 5, 2, round);
        alone.acked(3, 5, 2, round);
    }
    assert!(asked);
    // One answer may be late; two are not.
    assert_eq!(alone.see("x", old.clone(), true), [Effect::ReadRegister]);
    assert_eq!(alone.replica.status().role, Role::Primary);
    alone.see("x", old, true);
    assert_ne!(alone.replica.status().role, Role::Primary);
}

#[test]
fn old_members_that_are_gone_are_not_waited_for_once_the_register_has_the_new() {
    let old = Members::majority(1, vec![disk(2)]).unwrap();
    let new = Members::majority(2, vec![disk(1)]).unwrap();
    let what = What::Config(Config::Joint { old, new: new.clone() });
    let entries = vec![Entry { at: Position { epoch: epoch(3), seq: 1 }, what }];
    let restored = Restored { entries, ..Restored::default() };
    let replica = Replica::new(identity(1), Settings::default(), epoch(3), restored, 0, 3);
    let mut alone = Alone { replica, now: 0 };
    let found = register(epoch(3), Some(2), new);
    alone.see("1", found.clone(), true);
    assert!(alone.wait(5_000).contains(&Effect::ReadRegister));
    assert!(swap(&alone.see("1", found, true)).is_some());
}

#[test]
fn old_members_are_waited_for_where_the_register_has_other_new_ones() {
    // A change to disk 1 alone that was never committed, and another that was.
    let old = Members::majority(1, vec![disk(2)]).unwrap();
    let new = Members::majority(2, vec![disk(1)]).unwrap();
    let what = What::Config(Config::Joint { old, new });
    let entries = vec![Entry { at: Position { epoch: epoch(3), seq: 1 }, what }];
    let restored = Restored { entries, ..Restored::default() };
    let replica = Replica::new(identity(1), Settings::default(), epoch(4), restored, 0, 3);
    let mut alone = Alone { replica, now: 0 };
    let claimed = register(epoch(5), None, Members::majority(2, vec![disk(2), disk(1)]).unwrap());
    alone.see("1", claimed.clone(), true);
    alone.wait(5_000);
    let read = alone.receive(2, Body::Heard { silent: true, promised: epoch(4) });
    assert!(read.contains(&Effect::ReadRegister), "{read:?}");
    let claimed = swap(&alone.see("1", claimed, true)).expect("it claims").1;
    alone.done(&claimed, "2");
    assert_eq!(swap(&alone.step(Input::Durable(99))), None, "disk 2 has what was committed");
}

fn created(effects: &[Effect]) -> Option<Register> {
    effects.iter().find_map(|effect| match effect {
        Effect::Create(register) => Some(register.clone()),
        _ => None,
    })
}

#[test]
fn a_register_that_is_gone_is_created_from_the_log_by_who_elects_and_after_two_live_answers() {
    let old = Members::majority(7, vec![disk(1)]).unwrap();
    let new = Members::majority(8, vec![disk(1), disk(2)]).unwrap();
    let what = What::Config(Config::Joint { old: old.clone(), new });
    let entries = vec![Entry { at: Position { epoch: epoch(3), seq: 1 }, what }];
    let restored = Restored { entries, ..Restored::default() };
    let replica = Replica::new(identity(1), Settings::default(), epoch(3), restored, 0, 3);
    let mut alone = Alone { replica, now: 0 };
    let gone = |live| Input::Register { found: None, live };
    for live in [false, true, true, true] {
        assert_eq!(created(&alone.step(gone(live))), None, "nobody has to be elected");
    }
    alone.wait(5_000);
    alone.receive(2, Body::Heard { silent: true, promised: epoch(4) });
    assert_eq!(alone.step(gone(true)), [Effect::ReadRegister]);
    let first = created(&alone.step(gone(true))).expect("it creates");
    assert_eq!(
        first,
        Register::first(old),
        "the members before a change that may not be committed"
    );
    // Somebody else was first.
    let swapped = Input::Swapped { wanted: first.clone(), outcome: CasOutcome::Conflict };
    assert_eq!(alone.step(swapped), [Effect::ReadRegister]);
    let (version, claimed) = swap(&alone.see("7", first.clone(), true)).expect("it claims");
    assert_eq!((version.0.as_str(), claimed.epoch.number), ("7", 5), "above all that was promised");
}

#[test]
fn a_primary_creates_a_register_that_is_gone_and_is_elected_anew() {
    let mut alone = Alone::leading(5);
    alone.acked(2, 5, 2, 1);
    for _ in 0..30 {
        alone.acked(2, 5, 2, 1);
        alone.acked(3, 5, 2, 1);
        alone.now += 100;
    }
    let gone = |live| Input::Register { found: None, live };
    assert!(alone.step(gone(false)).contains(&Effect::ReadRegister));
    assert!(alone.step(gone(true)).contains(&Effect::ReadRegister));
    let first = created(&alone.step(gone(true))).expect("it creates");
    let (_, claimed) = swap(&alone.done(&first, "new")).expect("it claims at once");
    assert_eq!((claimed.epoch.number, claimed.members), (6, members()));
}

#[test]
fn a_blank_disk_creates_no_register() {
    let mut alone = Alone::new(Epoch::NONE);
    for _ in 0..9 {
        alone.wait(5_000);
        let effects = alone.step(Input::Register { found: None, live: true });
        assert_eq!(created(&effects), None);
    }
}

#[test]
fn too_few_answers_for_an_election_are_told() {
    let mut alone = Alone::new(epoch(3));
    alone.see("1", register(epoch(3), Some(2), members()), true);
    alone.wait(5_000);
    assert!(!alone.replica.status().short, "they have a while to answer");
    alone.wait(5_000);
    assert!(alone.replica.status().short);
    // One more is enough, also if it hears of the primary.
    alone.wait(5_000);
    alone.receive(3, Body::Heard { silent: false, promised: epoch(3) });
    alone.wait(5_000);
    assert!(!alone.replica.status().short);
}

#[test]
fn an_election_goes_on_when_the_register_comes_back() {
    let one = Members::majority(1, vec![disk(1)]).unwrap();
    let mut alone = Alone::new(epoch(3));
    let before = register(epoch(3), Some(2), one);
    alone.see("1", before.clone(), true);
    alone.wait(5_000);
    let claimed = swap(&alone.see("1", before, true)).unwrap().1;
    alone.done(&claimed, "2");
    alone.step(Input::Register { found: None, live: false });
    alone.step(Input::Durable(99));
    assert!(alone.wait(5_000).contains(&Effect::ReadRegister));
    let seated = swap(&alone.see("2", claimed, true)).unwrap().1;
    assert_eq!(seated.primary(), Some(identity(1)));
}

#[test]
fn a_late_answer_of_an_earlier_stay_confirms_no_read() {
    let mut alone = Alone::leading(5);
    let mut rounds: BTreeMap<u128, u64> = BTreeMap::new();
    let note = |rounds: &mut BTreeMap<u128, u64>, effects: Vec<Effect>| {
        for (to, body) in sent(&effects) {
            if let Body::Append { round, .. } = body {
                rounds.insert(to, round);
            }
        }
    };
    for _ in 0..60 {
        note(&mut rounds, alone.wait(200));
        for from in [2, 3] {
            let round = rounds.get(&from).copied().unwrap_or(0);
            note(&mut rounds, alone.acked(from, 5, 2, round));
        }
    }
    let early = rounds[&3];
    for voters in [vec![1, 2], vec![1, 2, 3]] {
        let wanted = Members::majority(0, voters.into_iter().map(disk).collect()).unwrap();
        note(&mut rounds, alone.step(Input::Change(wanted)));
        for step in 0..9 {
            note(&mut rounds, alone.step(Input::Durable(9_999)));
            let last = alone.replica.status().last;
            let effects = alone.acked(2, 5, last, rounds[&2]);
            if let Some((_, wanted)) = swap(&effects) {
                note(&mut rounds, alone.done(&wanted, &format!("s{step}")));
            }
            note(&mut rounds, effects);
        }
        assert!(!alone.replica.status().changing);
    }
    alone.acked(3, 5, 2, early);
    let effects = alone.step(Input::Read(7));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::ReadAt(..))), "{effects:?}");
}

#[test]
fn a_primary_does_not_step_aside_for_itself() {
    let mut alone = Alone::leading(5);
    alone.acked(2, 5, 2, 1);
    alone.step(Input::StepAside(disk(1)));
    let propose = Input::Propose { id: 1, client_id: 0, op_id: 1, body: Bytes::new() };
    assert!(!alone.step(propose).iter().any(|effect| matches!(effect, Effect::Answer(..))));
}

#[test]
fn an_epoch_that_no_counting_reaches_is_not_believed() {
    let mut alone = Alone::new(epoch(3));
    assert_eq!(alone.receive(2, Body::Fence(epoch(u64::MAX))), []);
    assert_eq!(alone.receive(2, append(u64::MAX, (0, 0), &[], 0)), []);
    let at = Position { epoch: epoch(2), seq: 7 };
    assert_eq!(alone.step(Input::Offered { from: disk(2), epoch: epoch(u64::MAX), at }), []);
    alone.receive(2, Body::Heard { silent: true, promised: epoch(u64::MAX) });
    assert_eq!(alone.claim().epoch.number, 4);
}

/// Where a primary that leads epoch 3 asks this one to take over.
fn asked() -> (Alone, Register) {
    let mut alone = Alone::new(epoch(3));
    let before = register(epoch(3), Some(2), members());
    alone.see("1", before.clone(), true);
    alone.receive(2, append(3, (0, 0), &[], 0));
    assert!(alone.receive(2, Body::TakeOver(epoch(3))).contains(&Effect::ReadRegister));
    (alone, before)
}

#[test]
fn one_that_is_asked_to_take_over_does_so_while_the_primary_gives_signs_of_life() {
    let (mut alone, before) = asked();
    for _ in 0..3 {
        alone.wait(150);
        alone.receive(2, append(3, (0, 0), &[], 0));
        let again = alone.receive(2, Body::TakeOver(epoch(3)));
        assert!(!again.contains(&Effect::ReadRegister), "it is under way: {again:?}");
    }
    let (_, claimed) = swap(&alone.see("1", before, true)).expect("it claims");
    let acked = alone.receive(2, append(3, (0, 0), &[(3, 1)], 0));
    assert!(acked.iter().any(|effect| matches!(effect, Effect::Write(_, Write::Append(_)))));
    let fenced = sent(&alone.done(&claimed, "2"));
    assert!(fenced.contains(&(2, Body::Fence(claimed.epoch))), "{fenced:?}");
}

#[test]
fn who_was_asked_and_cannot_is_a_follower_again_while_the_primary_goes_on() {
    let (mut alone, _) = asked();
    for _ in 0..20 {
        alone.wait(150);
        alone.receive(2, append(3, (0, 0), &[], 0));
    }
    assert_eq!(alone.replica.status().role, Role::Follower);
    assert_eq!(alone.replica.status().primary, Some(disk(2)));
}

#[test]
fn a_claim_that_got_no_answer_is_made_again_as_it_was() {
    let mut alone = Alone::new(epoch(3));
    let claimed = alone.claim();
    let before = register(epoch(3), Some(2), members());
    assert!(alone.wait(2_000).contains(&Effect::ReadRegister));
    assert_eq!(swap(&alone.see("1", before.clone(), true)).unwrap().1, claimed);
    // One that is too low by now is not.
    alone.receive(3, Body::Heard { silent: true, promised: epoch(9) });
    alone.wait(2_000);
    assert_eq!(swap(&alone.see("1", before, true)).unwrap().1.epoch.number, 10);
}

#[test]
fn a_claim_that_was_done_is_used_whatever_else_was_begun_since() {
    let mut alone = Alone::new(epoch(3));
    let claimed = alone.claim();
    alone.receive(2, append(3, (0, 0), &[], 0));
    alone.wait(5_000);
    let fenced = sent(&alone.done(&claimed, "2"));
    assert!(fenced.contains(&(2, Body::Fence(claimed.epoch))), "{fenced:?}");
}

#[test]
fn a_claim_that_was_done_is_not_gone_on_with_where_more_was_promised() {
    let mut alone = Alone::new(epoch(3));
    let first = alone.claim();
    let before = register(epoch(3), Some(2), members());
    alone.receive(3, Body::Heard { silent: true, promised: epoch(9) });
    alone.wait(2_000);
    let (_, second) = swap(&alone.see("1", before, true)).expect("it claims above");
    assert_eq!(sent(&alone.done(&first, "2")), []);
    let outcome = CasOutcome::Conflict;
    let effects = alone.step(Input::Swapped { wanted: second.clone(), outcome });
    assert_eq!(effects, [Effect::ReadRegister]);
    let again = swap(&alone.see("2", first, true)).expect("it claims once more");
    assert_eq!((again.0.0.as_str(), again.1), ("2", second));
}

#[test]
fn of_two_claims_that_were_done_the_later_counts() {
    let mut alone = Alone::new(epoch(3));
    let first = alone.claim();
    alone.receive(2, append(3, (0, 0), &[], 0));
    alone.wait(5_000);
    alone.receive(2, Body::Heard { silent: true, promised: epoch(3) });
    alone.see("2", first.clone(), true);
    let (_, second) = swap(&alone.see("2", first.clone(), true)).expect("it claims above its own");
    alone.done(&first, "2");
    let fenced = sent(&alone.done(&second, "3"));
    assert!(fenced.contains(&(2, Body::Fence(second.epoch))), "{fenced:?}");
}

/// How many swaps of the register are made in half a minute, and how many wait for an answer at most, where each takes so long
/// and nobody knows how it ended.
fn swaps_of_a_claim(ms: Millis) -> (usize, usize) {
    let mut alone = Alone::new(epoch(3));
    let before = register(epoch(3), Some(2), members());
    let mut waiting = VecDeque::from([(alone.now + ms, alone.claim())]);
    let (mut made, mut most, end) = (1, 1, alone.now + 30_000);
    while alone.now < end {
        let mut effects = match waiting.front() {
            Some((at, _)) if *at <= alone.now => {
                let (_, wanted) = waiting.pop_front().expect("it is there");
                alone.step(Input::Swapped { wanted, outcome: CasOutcome::Unknown })
            }
            _ => alone.wait(50),
        };
        while !effects.is_empty() {
            if let Some((_, wanted)) = swap(&effects) {
                made += 1;
                waiting.push_back((alone.now + ms, wanted));
                most = most.max(waiting.len());
            }
            effects = match effects.contains(&Effect::ReadRegister) {
                true => alone.see("1", before.clone(), true),
                false => Vec::new(),
            };
        }
    }
    (made, most)
}

#[test]
fn a_register_that_fails_is_not_asked_ever_more() {
    for (ms, bound) in [(1, 1), (500, 1), (1_500, 2), (3_000, 4)] {
        let (made, most) = swaps_of_a_claim(ms);
        assert!(made <= 31 && most <= bound, "{ms} ms: {made} swaps, {most} at once");
        assert!(made >= 10, "{ms} ms: it goes on trying: {made}");
    }
}
