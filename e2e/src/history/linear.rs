//! Whether what was seen of one point can have come from one copy of it, each op at one moment between when it was asked
//! and when it was answered.
//!
//! The search is that of Wing and Gong ("Testing and verifying concurrent objects", 1993) in the order of Lowe's
//! just-in-time linearization ("Testing for linearizability", 2017): all states that the past allows are kept, and an op
//! is given its moment only when an answer demands it.
//!
//! What keeps it small: a write of unknown outcome that nobody saw may be left out, since its effect could only have
//! been seen as its number; deletes of unknown outcome are all alike, so only how many were used counts.

use std::collections::{BTreeMap, HashMap};

use super::{Action, Outcome, Record, State};

/// The first answer that no order of the ops explains.
#[derive(Clone, Debug)]
pub(super) struct Violation {
    pub(super) record: Record,
    /// What the point could have been when that was asked for.
    pub(super) possible: Vec<State>,
}

/// An op whose place in the order is sought.
#[derive(Clone, Copy)]
struct Pending {
    record: Record,
    slot: u32,
}

/// A way in which the past may have gone: the state, and which of the pending ops led to it.
type Config = (State, u128);
/// The ways, each with the least number of open deletes that it takes.
type Configs = HashMap<Config, u32>;

enum Event {
    Invoke(usize),
    Return(usize),
}

/// Checks the ops of one point, in any order.
pub(super) fn check(ops: &[Record]) -> Result<(), Box<Violation>> {
    let mut search = Search::new();
    for event in events(ops) {
        match event {
            Event::Invoke(op) => search.invoke(op, ops[op]),
            Event::Return(op) => search.demand(op)?,
        }
    }
    Ok(())
}

/// What happens when, by index of the ops. An op that certainly had no effect is not there.
fn events(ops: &[Record]) -> Vec<Event> {
    let demanded = demanded(ops);
    let mut events = Vec::new();
    for (index, record) in ops.iter().enumerate() {
        let open_delete = record.action == Action::Delete && record.outcome == Outcome::Open;
        let until = demanded[index];
        if until.is_some() || open_delete {
            // At one time the invocation is first: whether the ops overlap is then unknown.
            events.push(((record.invoked, 0), Event::Invoke(index)));
        }
        if let Some(until) = until {
            events.push(((until.max(record.invoked), 1), Event::Return(index)));
        }
    }
    events.sort_by_key(|(time, _)| *time);
    events.into_iter().map(|(_, event)| event).collect()
}

/// By when each op must have had its effect, if it must: when it was answered, and when a replica showed it as committed.
pub(super) fn demanded(ops: &[Record]) -> Vec<Option<u64>> {
    // By what was written: an upsert's number, or a merge's.
    let mut shown: BTreeMap<(u64, bool), u64> = BTreeMap::new();
    for record in ops {
        let Outcome::Saw(Some(value)) = record.outcome else { continue };
        let merged = value.merged.map(|number| (number, true));
        for number in [Some((value.number, false)), merged].into_iter().flatten() {
            // A strong read demands it by itself, once it is answered.
            let by = shown.entry(number).or_insert(record.returned);
            *by = record.returned.min(*by);
        }
    }
    let of = |record: &Record| match (record.action, record.outcome) {
        (_, Outcome::NotDone) | (Action::Any, _) => None,
        (Action::Strong, outcome) => matches!(outcome, Outcome::Saw(_)).then_some(record.returned),
        (action, outcome) => {
            let seen = match action {
                Action::Upsert(number) => shown.get(&(number, false)).copied(),
                Action::Merge(number) => shown.get(&(number, true)).copied(),
                _ => None,
            };
            let acked = (outcome == Outcome::Done).then_some(record.returned);
            [seen, acked].into_iter().flatten().min()
        }
    };
    ops.iter().map(of).collect()
}

struct Search {
    configs: Configs,
    pending: BTreeMap<usize, Pending>,
    free: u128,
    open_deletes: u32,
}

impl Search {
    fn new() -> Self {
        Self {
            configs: [((None, 0), 0)].into(),
            pending: BTreeMap::new(),
            free: u128::MAX,
            open_deletes: 0,
        }
    }

    fn invoke(&mut self, op: usize, record: Record) {
        if record.action == Action::Delete && record.outcome == Outcome::Open {
            self.open_deletes += 1;
            return;
        }
        let slot = self.free.trailing_zeros();
        assert!(slot < u128::BITS, "more ops on one point at once than this can follow");
        self.free &= !(1 << slot);
        self.pending.insert(op, Pending { record, slot });
    }

    /// Leaves only the ways in which this op has had its moment.
    fn demand(&mut self, op: usize) -> Result<(), Box<Violation>> {
        let wanted = self.pending[&op];
        let bit = 1 << wanted.slot;
        let (mut after, mut seen) = (Configs::new(), Configs::new());
        let mut open: Vec<(Config, u32)> = self.configs.drain().collect();
        while let Some(((state, done), deletes)) = open.pop() {
            if done & bit != 0 {
                keep_least(&mut after, (state, done & !bit), deletes);
                continue;
            }
            if !keep_least(&mut seen, (state, done), deletes) {
                continue;
            }
            for next in self.pending.values().filter(|next| done & (1 << next.slot) == 0) {
                if let Outcome::Saw(saw) = next.record.outcome
                    && saw != state
                {
                    continue;
                }
                open.push(((next.record.action.apply(state), done | (1 << next.slot)), deletes));
            }
            if deletes < self.open_deletes && state.is_some() {
                open.push(((None, done), deletes + 1));
            }
        }
        self.pending.remove(&op);
        self.free |= bit;
        if after.is_empty() {
            let mut possible: Vec<State> = seen.keys().map(|(state, _)| *state).collect();
            possible.sort_unstable();
            possible.dedup();
            return Err(Box::new(Violation { record: wanted.record, possible }));
        }
        self.configs = after;
        Ok(())
    }
}

/// Whether this way is new, or takes fewer deletes than it did.
fn keep_least(configs: &mut Configs, config: Config, deletes: u32) -> bool {
    match configs.get_mut(&config) {
        Some(known) if *known <= deletes => false,
        Some(known) => {
            *known = deletes;
            true
        }
        None => {
            configs.insert(config, deletes);
            true
        }
    }
}
