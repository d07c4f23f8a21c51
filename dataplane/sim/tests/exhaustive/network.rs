//! Messages on their way. Each may arrive at any time, or never, which is to be lost; none arrives twice. Entries from one process to
//! another stay in order, and so do the answers, as on one stream; what comes in disorder is simulated.

use std::sync::Arc;

use shoal_consensus::{Body, DiskId, Message, Role};

use crate::node::Node;
use crate::shared::hash_of;

/// Messages, each once and in an order that is the same whatever was sent first.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(crate) struct Network(Vec<Letter>);

#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) key: u64,
    inside: Arc<(DiskId, Message)>,
}

impl PartialEq for Letter {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl std::hash::Hash for Letter {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl Letter {
    pub(crate) fn new(to: DiskId, message: Message) -> Self {
        let inside = (to, message);
        Self { key: hash_of(&inside), inside: Arc::new(inside) }
    }

    fn to(&self) -> DiskId {
        self.inside.0
    }

    fn message(&self) -> &Message {
        &self.inside.1
    }

    /// Its kind, and its place among those of its kind.
    fn place(&self) -> Option<(u8, u64, u64)> {
        match &self.message().body {
            Body::Append { epoch, round, .. } => Some((0, epoch.number, *round)),
            Body::Appended { epoch, round, .. } | Body::Mismatch { epoch, round, .. } => {
                Some((1, epoch.number, *round))
            }
            _ => None,
        }
    }

    /// Whether it answers another.
    fn is_answer(&self) -> bool {
        matches!(
            self.message().body,
            Body::Appended { .. } | Body::Mismatch { .. } | Body::Promise(_) | Body::Refused { .. }
        )
    }
}

impl Network {
    pub(crate) fn send(&mut self, letter: Letter) {
        if let Err(at) = self.0.binary_search_by_key(&letter.key, |letter| letter.key) {
            self.0.insert(at, letter);
        }
    }

    /// Those that may arrive next. What one process sends another of a kind does not overtake itself.
    pub(crate) fn next(&self) -> impl Iterator<Item = u64> {
        let overtakes = |letter: &Letter| {
            let Some(place) = letter.place() else { return false };
            let same = |other: &&Letter| {
                other.to() == letter.to() && other.message().from == letter.message().from
            };
            let mut before = self.0.iter().filter(same).filter_map(Letter::place);
            before.any(|other| other.0 == place.0 && other < place)
        };
        self.0.iter().filter(move |letter| !overtakes(letter)).map(|letter| letter.key)
    }

    fn find(&self, key: u64) -> Option<usize> {
        self.0.binary_search_by_key(&key, |letter| letter.key).ok()
    }

    /// An answer that may arrive next.
    pub(crate) fn answer(&self) -> Option<u64> {
        let is_answer = |&key: &u64| {
            self.find(key).and_then(|at| self.0.get(at)).is_some_and(Letter::is_answer)
        };
        self.next().find(is_answer)
    }

    /// An ack that may arrive next.
    pub(crate) fn ack(&self) -> Option<u64> {
        let is_ack = |letter: &&Letter| matches!(letter.message().body, Body::Appended { .. });
        self.0.iter().find(is_ack).map(|letter| letter.key)
    }

    /// From whom to whom.
    pub(crate) fn ends(&self, key: u64) -> (DiskId, DiskId) {
        let letter = self.find(key).and_then(|at| self.0.get(at));
        letter.map_or_else(Default::default, |letter| (letter.message().from.disk, letter.to()))
    }

    /// All answers that are on their way are lost.
    pub(crate) fn lose_answers(&mut self) {
        self.0.retain(|letter| !letter.is_answer());
    }

    pub(crate) fn take(&mut self, key: u64) -> Option<(DiskId, Message)> {
        let letter = self.0.remove(self.find(key)?);
        Some((letter.to(), letter.message().clone()))
    }

    /// Takes away what cannot matter any more, so that states which differ in nothing else are one: an answer to somebody who
    /// waits for none, since no epoch is led or gathered for twice; and a request whose only answer would be such a one.
    pub(crate) fn prune(&mut self, nodes: &[Node]) {
        let of = |disk: DiskId| nodes.iter().find(|node| node.disk == disk);
        self.0.retain(|letter| {
            let message = letter.message();
            let Some(to) = of(letter.to()) else { return false };
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
