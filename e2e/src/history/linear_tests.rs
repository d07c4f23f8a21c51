//! The search against one that tries every order of every choice of ops, on small histories drawn at random.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::linear::check;
use super::{Action, Outcome, Record, State, Value};

/// Whether the ops that are left can be put in an order that goes on from this state. `until` is by when each has to have
/// had its effect; without it, it need not have had any.
fn explained(ops: &[Record], until: &[Option<u64>], placed: &mut [bool], state: State) -> bool {
    let left = |placed: &[bool]| (0..ops.len()).filter(|op| !placed[*op]).collect::<Vec<_>>();
    let left = left(placed);
    if left.iter().all(|op| until[*op].is_none()) {
        return true;
    }
    left.iter().any(|&next| {
        // Nothing that was over before it began may come after it.
        let over = |op: usize| until[op].is_some_and(|until| until < ops[next].invoked);
        let fits = match ops[next].outcome {
            Outcome::Saw(saw) => saw == state,
            _ => true,
        };
        if !fits || left.iter().any(|&op| op != next && over(op)) {
            return false;
        }
        placed[next] = true;
        let found = explained(ops, until, placed, ops[next].action.apply(state));
        placed[next] = false;
        found
    })
}

fn explained_at_all(ops: &[Record]) -> bool {
    let ops: Vec<Record> =
        ops.iter().filter(|op| op.outcome != Outcome::NotDone).copied().collect();
    let until = |op: &Record| {
        let shown = ops.iter().filter(
            |read| matches!(read.outcome, Outcome::Saw(state) if op.action.shows_in(state)),
        );
        let shown = shown.map(|read| read.returned).min();
        let acked = (op.outcome != Outcome::Open).then_some(op.returned);
        // What is shown before it began is found elsewhere.
        shown.into_iter().chain(acked).min().map(|until| until.max(op.invoked))
    };
    // A read of any replica only says by when a write was done.
    let (until, ordered): (Vec<_>, Vec<_>) =
        ops.iter().filter(|op| op.action != Action::Any).map(|op| (until(op), *op)).unzip();
    explained(&ordered, &until, &mut vec![false; ordered.len()], None)
}

/// A few ops at random times, reads of which see what some write could have left.
fn history(rng: &mut StdRng) -> Vec<Record> {
    let mut ops = Vec::new();
    for number in 1..=rng.random_range(2..7) {
        let invoked = rng.random_range(0..12);
        let seen = [
            None,
            Some(Value { number: rng.random_range(1..=number), merged: None }),
            Some(Value {
                number: rng.random_range(1..=number),
                merged: Some(rng.random_range(1..=number)),
            }),
        ];
        let write = [Outcome::Done, Outcome::Done, Outcome::Open, Outcome::NotDone];
        let write = *write.choose(rng).unwrap();
        let seen = Outcome::Saw(*seen.choose(rng).unwrap());
        let (action, outcome) = match rng.random_range(0..9) {
            0..3 => (Action::Upsert(number), write),
            3 => (Action::Merge(number), write),
            4 => (Action::Delete, write),
            5..8 => (Action::Strong, seen),
            _ => (Action::Any, seen),
        };
        let returned = invoked + rng.random_range(0..6);
        ops.push(Record {
            key: 0,
            client: 0,
            op: number,
            action,
            invoked,
            sent: invoked,
            returned,
            by: 0,
            outcome,
        });
    }
    ops
}

#[test]
fn the_search_finds_an_order_where_there_is_one_and_none_where_there_is_none() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..20_000 {
        let ops = history(&mut StdRng::seed_from_u64(seed));
        let expected = explained_at_all(&ops);
        assert_eq!(check(&ops).is_ok(), expected, "seed {seed}: {ops:#?}");
        *if expected { &mut good } else { &mut bad } += 1;
    }
    assert!(good > 2000 && bad > 2000, "{good} good, {bad} bad");
}
