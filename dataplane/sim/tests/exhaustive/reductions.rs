//! What is left out because it makes no difference. `whole=1` leaves nothing of it out; that both come to the same is a test.
//!
//! - Replicas that differ in how much they ever wrote, and in nothing else, are one (the hash of the rules' outbox); the version of the
//!   register is what it says, since it never says the same twice but for losses; the last ack is forgotten once nobody reads any more.
//! - Answers arrive at once or never. A promise that arrives late is a fence that arrives late: between the two the one that promised does
//!   nothing that it might not do before. An ack that arrives late is one that arrived at once, since to know earlier that
//!   something is committed only makes the checks stricter, or, for a read that comes in between, one that was lost: later acks say as much.
//! - An ack by which a primary neither commits nor answers anything is not lost: what it sends for it may be late.
//! - The register gets to claims and seats as soon as they are asked for. A swap that is decided late and done is one that was asked for late;
//!   one that is decided late and in vain is one asked for after what made it so. Not so while members change (who claims was a
//!   voter when it read the register, and need not be one when it claims again), before the register is lost, or with `unknown=`.
//! - Who may end syncs at once, until its disk hangs; then it syncs, or ends. Who that is, is open until then. To sync late is to sync at once,
//!   with answers late, but for what one tells oneself: hence a disk that hangs may come to itself. Where a disk hangs under one that
//!   neither leads nor elects, what arrives and is not answered might as well have arrived before, or never.

use shoal_consensus::Role;

use crate::model::{Action, Shard};
use crate::node::Node;
use crate::state::State;

impl Shard {
    /// Who may write something then.
    pub(crate) fn concerns(&self, state: &State, action: &Action) -> [Option<usize>; 2] {
        match *action {
            Action::Deliver { key, .. } => {
                let (from, to) = state.network.ends(key);
                [state.node_of(to), state.node_of(from)]
            }
            Action::Elect(at)
            | Action::See(at)
            | Action::Late(at)
            | Action::Again(at)
            | Action::Propose(at, _)
            | Action::Read(at)
            | Action::Replace(at) => [Some(at), None],
            Action::Decide { swap, .. } => {
                let by = state.swaps.get(swap).map(|swap| swap.by.disk);
                [by.and_then(|by| state.node_of(by)), None]
            }
            Action::Sync(_)
            | Action::Hang(..)
            | Action::Crash(..)
            | Action::Delete
            | Action::SetBack => [None, None],
        }
    }

    /// Whether something arrives where nothing becomes durable, and nobody hears of it if it is not answered.
    pub(crate) fn is_unheard(&self, last: &State, action: &Action) -> bool {
        let Action::Deliver { key, .. } = *action else { return false };
        let hangs = |at: &usize| last.hung && last.mortal == Some(*at);
        let to = last.node_of(last.network.ends(key).1).filter(hangs);
        to.is_some_and(|at| !is_active(&last.nodes[at]))
    }

    /// Whether an answer that was lost would have told nothing.
    pub(crate) fn is_idle(&self, last: &State, action: &Action, lost: &State) -> bool {
        let Action::Deliver { key, .. } = *action else { return false };
        if self.bounds.changes > 0 || lost.hung {
            return false;
        }
        let mut told = last.clone();
        self.deliver(&mut told, key);
        let Some(answer) = told.network.ack() else { return false };
        let commits = |state: &State| state.nodes.iter().map(|node| node.commit).sum::<u64>();
        let before = commits(&told);
        self.deliver(&mut told, answer);
        commits(&told) == before && told.checks == lost.checks && told.broken == lost.broken
    }

    /// Whether answers never wait.
    pub(crate) fn answers(&self) -> bool {
        self.bounds.whole == 0 || self.bounds.prompt > 0
    }
}

/// Whether others hear of what it does although nothing of it is durable.
pub(crate) fn is_active(node: &Node) -> bool {
    matches!(node.role, Role::Primary | Role::Electing)
}
