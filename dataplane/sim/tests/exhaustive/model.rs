//! What can happen to a shard.

use shoal_consensus::{Body, CasOutcome, Config, DiskId, Input, Members, Message, Mistakes, Role};
use stateright::{Model, Property};

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::bounds::Bounds;
use crate::reductions::is_active;
use crate::shared::Shared;
use crate::state::{State, Swap, Terms, first};

/// Later than any timer.
const LATE: u64 = 1_000;

/// After what is sent again is sent again, and before anything else.
const SOON: u64 = 2;

/// See the file's comment.
pub(crate) struct Shard {
    pub(crate) bounds: Bounds,
    /// What disks come to hold, if somebody wants to know.
    pub(crate) disks: Option<Arc<Mutex<BTreeSet<u64>>>>,
}

/// Something that can happen. Nodes are counted from 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// A message arrives, and with `answered` what is answered at once.
    Deliver { key: u64, answered: bool },
    /// What it writes from here on is never durable, or not before it ends: the disk of the one that may end hangs.
    Hang(usize, Box<Action>),
    /// All that was written is durable.
    Sync(usize),
    /// A voter has somebody elected, because it misses the primary, or is one that steps down: when, is nobody's guess, and asking
    /// the others is left out.
    Elect(usize),
    /// The register gets to a swap, and says so or not.
    Decide { swap: usize, answered: bool },
    /// Who was elected hears of it.
    See(usize),
    /// An election that waits for the register reads it again.
    Late(usize),
    /// What had no answer is sent again.
    Again(usize),
    /// A client proposes an op.
    Propose(usize, u64),
    /// A client reads.
    Read(usize),
    /// A process ends with so many writes durable, and starts again.
    Crash(usize, usize),
    /// The operator replaces the last voter.
    Replace(usize),
    /// The register is deleted.
    Delete,
    /// The register says what it said at first.
    SetBack,
}

impl Shard {
    /// Epoch 1 is led and its members are committed, all messages have arrived.
    fn begun(&self) -> State {
        let Bounds { voters, changes, epochs, losses, unknown, whole, .. } = self.bounds;
        let terms = Terms {
            epochs,
            losses,
            seats: whole == 0 && unknown == 0,
            claims: whole == 0 && unknown == 0 && changes == 0,
            syncs: whole == 0,
        };
        let mut state = State::blank(voters, changes > 0, self.bounds.mistakes, terms);
        self.happen(&mut state, &Action::Elect(0));
        self.settle(&mut state);
        if self.bounds.changes > 0 {
            // The new disk has the log before it votes, as the operator sees to.
            state.step(0, 0, Input::Learners(vec![DiskId(self.bounds.voters + 1)]));
            state.step(0, SOON, Input::Tick);
            self.settle(&mut state);
        }
        let commits: Vec<u64> = state.nodes.iter().map(|node| node.commit).collect();
        assert!(state.nodes[0].role == Role::Primary && commits[0] == 2, "{state:?}");
        state
    }

    fn settle(&self, state: &mut State) {
        loop {
            let mut actions = Vec::new();
            self.progress(state, &mut actions);
            let Some(action) = actions.first() else { break };
            self.happen(state, &action.clone());
        }
    }

    /// What happens if nothing fails.
    fn progress(&self, state: &State, actions: &mut Vec<Action>) {
        let deliver = |answered| move |key| Action::Deliver { key, answered };
        actions.extend(state.network.next().map(deliver(true)));
        if self.bounds.whole == 0 && self.bounds.prompt == 0 {
            actions.extend(state.network.next().map(deliver(false)));
        }
        for (at, node) in state.nodes.iter().enumerate() {
            if !node.pending.is_empty() {
                actions.push(Action::Sync(at));
            }
            let named = state.register.as_ref().is_some_and(|register| {
                register.primary() == Some(node.identity()) && register.epoch == node.promised
            });
            if named && node.leads.is_none() && !node.has_led(node.promised.number) {
                actions.push(Action::See(at));
            }
        }
        for swap in 0..state.swaps.len() {
            actions.push(Action::Decide { swap, answered: true });
        }
    }

    fn clients(&self, state: &State, actions: &mut Vec<Action>) {
        for (at, node) in state.nodes.iter().enumerate().filter(|(_, node)| node.leads.is_some()) {
            // Before that it refuses, if it makes no mistake.
            let ready = node.is_past_barrier() || self.bounds.mistakes != Mistakes::NONE;
            if !ready {
                continue;
            }
            if state.used.writes < self.bounds.writes {
                actions.push(Action::Propose(at, state.used.writes + 1));
            }
            if state.used.repeats < self.bounds.repeats {
                actions.extend((1..=state.used.writes).map(|op| Action::Propose(at, op)));
            }
            if state.used.reads < self.bounds.reads {
                actions.push(Action::Read(at));
            }
            if state.used.changes < self.bounds.changes {
                actions.push(Action::Replace(at));
            }
        }
    }

    fn faults(&self, state: &State, actions: &mut Vec<Action>) {
        let timers = state.used.timers < self.bounds.timers;
        for (at, node) in state.nodes.iter().enumerate() {
            let able = matches!(node.role, Role::Follower | Role::Fenced | Role::Primary);
            if able && state.epoch() < self.bounds.epochs {
                actions.push(Action::Elect(at));
            }
            if timers && node.role == Role::Electing {
                actions.push(Action::Late(at));
            }
            if timers && matches!(node.role, Role::Primary | Role::Electing) {
                actions.push(Action::Again(at));
            }
            let mortal = state.mortal == Some(at) || (state.terms.syncs && state.mortal.is_none());
            if state.used.crashes < self.bounds.crashes && mortal {
                actions.extend((0..=node.pending.len()).map(|kept| Action::Crash(at, kept)));
            }
        }
        if state.used.unknown < self.bounds.unknown {
            let unanswered = |swap| Action::Decide { swap, answered: false };
            actions.extend((0..state.swaps.len()).map(unanswered));
        }
        if state.used.losses < self.bounds.losses && state.register.is_some() {
            actions.extend([Action::Delete, Action::SetBack]);
        }
    }

    fn happen(&self, state: &mut State, action: &Action) {
        match *action {
            Action::Deliver { key, answered } => {
                self.deliver(state, key);
                if !answered {
                    state.network.lose_answers();
                }
            }
            Action::Hang(at, ref action) => {
                (state.mortal, state.hung) = (Some(at), true);
                self.happen(state, action);
            }
            Action::Sync(at) => {
                state.hung = false;
                if let Some(input) = state.nodes[at].sync() {
                    state.step(at, 0, input);
                }
            }
            Action::Elect(at) => {
                if state.nodes[at].role == Role::Primary {
                    state.step(at, LATE, Input::Tick);
                }
                let body = Body::TakeOver(state.nodes[at].promised);
                let message = Message { from: state.nodes[at].identity(), body };
                state.step(at, 0, Input::Received(message));
            }
            Action::Decide { swap, answered } => self.decide(state, swap, answered),
            Action::See(at) => {
                let found = state.found();
                state.step(at, 0, Input::Register { found, live: false });
            }
            Action::Late(at) => {
                state.used.timers += 1;
                state.step(at, LATE, Input::Tick);
            }
            Action::Again(at) => {
                state.used.timers += 1;
                state.step(at, SOON, Input::Tick);
            }
            Action::Propose(at, op) => {
                let new = op > state.used.writes;
                *(if new { &mut state.used.writes } else { &mut state.used.repeats }) += 1;
                let body = bytes::Bytes::new();
                state.step(at, 0, Input::Propose { id: op, client_id: 1, op_id: op, body });
            }
            Action::Read(at) => state.read(at),
            Action::Crash(at, kept) => {
                state.used.crashes += 1;
                state.hung = false;
                let ended = state.nodes[at].identity();
                state.checks.change(|checks| checks.ends(ended));
                state.nodes[at].restart(kept, self.bounds.mistakes);
                let again = state.used.crashes < self.bounds.crashes;
                state.mortal = again.then_some(at);
                state.step(at, 0, Input::NoRegister);
            }
            Action::Replace(at) => {
                state.used.changes += 1;
                let ids = (1..=self.bounds.voters + 1).filter(|&id| id != self.bounds.voters);
                if let Ok(wanted) = Members::majority(0, ids.map(DiskId).collect()) {
                    state.step(at, 0, Input::Change(wanted));
                }
            }
            Action::Delete => {
                state.used.losses += 1;
                state.register = Shared::new(None);
            }
            Action::SetBack => {
                state.used.losses += 1;
                state.register = Shared::new(Some(first(self.bounds.voters)));
            }
        }
    }

    pub(crate) fn deliver(&self, state: &mut State, key: u64) {
        let Some((to, message)) = state.network.take(key) else { return };
        if let Some(at) = state.node_of(to) {
            state.step(at, 0, Input::Received(message));
        }
    }

    fn decide(&self, state: &mut State, swap: usize, answered: bool) {
        let swap: Swap = state.swaps.remove(swap);
        let mut outcome = state.decide(&swap);
        if !answered {
            state.used.unknown += 1;
            outcome = CasOutcome::Unknown;
        }
        // An answer to a process that ended is answered to nobody.
        if let Some(at) = state.nodes.iter().position(|node| node.identity() == swap.by) {
            state.step(at, 0, Input::Swapped { wanted: swap.wanted, outcome });
        }
    }
}

impl Model for Shard {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let begun = self.begun();
        match self.bounds.crashes {
            0 => vec![begun],
            _ if begun.terms.syncs => vec![begun],
            // One of them, and if more than once, the same again.
            _ => (0..self.bounds.voters as usize).map(|at| begun.clone().with_mortal(at)).collect(),
        }
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        self.progress(state, actions);
        self.clients(state, actions);
        self.faults(state, actions);
        if state.terms.syncs && state.used.crashes < self.bounds.crashes && !state.hung {
            for at in 0..actions.len() {
                let action = actions[at].clone();
                let may = |at: &usize| state.mortal.is_none_or(|mortal| mortal == *at);
                for at in self.concerns(state, &action).into_iter().flatten().filter(may) {
                    actions.push(Action::Hang(at, Box::new(action.clone())));
                }
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.happen(&mut state, &action);
        if matches!(action, Action::Deliver { answered: false, .. })
            && self.is_idle(last, &action, &state)
        {
            return None;
        }
        let heard = state.network.answer().is_some();
        if !heard && self.is_unheard(last, &action) {
            return None;
        }
        while self.answers()
            && let Some(key) = state.network.answer()
        {
            self.deliver(&mut state, key);
        }
        let State { network, nodes, mortal, hung, .. } = &mut state;
        network.prune(nodes);
        if let Some(at) = mortal.filter(|_| *hung && !last.hung) {
            let writes = nodes[at].pending.len();
            if writes == 0 || (writes == 1 && !heard && !is_active(&nodes[at])) {
                return None;
            }
        }
        if self.bounds.whole == 0 && state.used.reads == self.bounds.reads && state.checks.acked > 0
        {
            state.checks.change(|checks| checks.acked = 0);
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is broken", |model: &Shard, state: &State| {
                if let Some(disks) = &model.disks {
                    disks.lock().expect("no thread panics").extend(state.disks());
                }
                state.broken.is_none()
            }),
            Property::sometimes(
                "the last epoch is led and all writes are committed",
                |model: &Shard, state: &State| {
                    let last = |node: &crate::state::Node| {
                        node.leads.is_some_and(|epoch| epoch.number == model.bounds.epochs)
                    };
                    let all = state.checks.has_all(model.bounds.writes);
                    state.nodes.iter().any(|node| last(node) && node.is_past_barrier()) && all
                },
            ),
            Property::sometimes(
                "the members are changed, where they may be",
                |model: &Shard, state: &State| {
                    let changed = |node: &crate::state::Node| matches!(node.config(), Some(Config::New(m)) if m.generation() > 1);
                    model.bounds.changes == 0 || state.nodes.iter().any(changed)
                },
            ),
        ]
    }
}
