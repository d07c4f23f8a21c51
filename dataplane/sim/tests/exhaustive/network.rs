//! Messages on their way. Each may arrive at any time, or never, which is to be lost; none arrives twice. Entries from one process to
//! another stay in order, and so do the answers, as on one stream; what comes in disorder is simulated.

use std::hash::{DefaultHasher, Hash, Hasher};

use shoal_consensus::{Body, DiskId, Message, Role};

use crate::state::Node;

/// Messages, each once and in an order that is the same whatever was sent first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network(Vec<Letter>);

#[derive(Clone, Debug)]
struct Letter {
    key: u64,
    to: DiskId,
    message: Message,
}

impl PartialEq for Network {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(|letter| letter.key).eq(other.0.iter().map(|letter| letter.key))
    }
}

impl Hash for Network {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for letter in &self.0 {
            letter.key.hash(state);
        }
    }
}

impl Letter {
    /// Its kind, and its place among those of its kind.
    fn place(&self) -> Option<(u8, u64, u64)> {
        match &self.message.body {
            Body::Append { epoch, round, .. } => Some((0, epoch.number, *round)),
            Body::Appended { epoch, round, .. } | Body::Mismatch { epoch, round, .. } => {
                Some((1, epoch.number, *round))
            }
            _ => None,
        }
    }
}

impl Network {
    pub(crate) fn send(&mut self, to: DiskId, message: Message) {
        let mut hasher = DefaultHasher::new();
        (to, &message).hash(&mut hasher);
        let key = hasher.finish();
        if let Err(at) = self.0.binary_search_by_key(&key, |letter| letter.key) {
            self.0.insert(at, Letter { key, to, message });
        }
    }

    /// Those that may arrive next. What one process sends another of a kind does not overtake itself.
    pub(crate) fn next(&self) -> impl Iterator<Item = u64> {
        let overtakes = |letter: &Letter| {
            let Some(place) = letter.place() else { return false };
            let same = |other: &&Letter| {
                other.to == letter.to && other.message.from == letter.message.from
            };
            let mut before = self.0.iter().filter(same).filter_map(Letter::place);
            before.any(|other| other.0 == place.0 && other < place)
        };
        self.0.iter().filter(move |letter| !overtakes(letter)).map(|letter| letter.key)
    }

    /// An answer that may arrive next.
    pub(crate) fn answer(&self) -> Option<u64> {
        let is_answer = |key: &u64| {
            let at = self.0.binary_search_by_key(key, |letter| letter.key).ok();
            let body = at.and_then(|at| self.0.get(at)).map(|letter| &letter.message.body);
            matches!(body, Some(Body::Appended { .. } | Body::Mismatch { .. } | Body::Promise(_)))
        };
        self.next().find(is_answer)
    }

    pub(crate) fn take(&mut self, key: u64) -> Option<(DiskId, Message)> {
        let at = self.0.binary_search_by_key(&key, |letter| letter.key).ok()?;
        let Letter { to, message, .. } = self.0.remove(at);
        Some((to, message))
    }

    /// Takes away what cannot matter any more, so that states which differ in nothing else are one: an answer to somebody who
    /// waits for none, since no epoch is led or gathered for twice; and a request whose only answer would be such a one.
    pub(crate) fn prune(&mut self, nodes: &[Node]) {
        let of = |disk: DiskId| nodes.iter().find(|node| node.disk == disk);
        self.0.retain(|Letter { to, message, .. }| {
            let Some(to) = of(*to) else { return false };
            let from = of(message.from.disk).filter(|from| from.identity() == message.from);
            let electing = |node: &Node| node.role == Role::Electing;
            match &message.body {
                // That it is refused tells a primary to step down, which it may do anyway.
                Body::Append { epoch, .. } => to.promised.number <= epoch.number,
                Body::Fence(epoch) => {
                    to.promised.number < epoch.number || from.is_some_and(electing)
                }
                Body::Promise(_) => electing(to),
                Body::Refused { .. } => electing(to),
                Body::Appended { epoch, .. } | Body::Mismatch { epoch, .. } => {
                    to.leads == Some(*epoch)
                }
                Body::Elected | Body::Probe | Body::Heard { .. } | Body::TakeOver(_) => false,
            }
        });
    }
}
