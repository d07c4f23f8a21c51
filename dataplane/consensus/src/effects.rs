//! Effects in the order in which they are to be carried out, and what is held back until the disk has what it says.
//!
//! Writes are durable in the order of their tickets, so one number says what is durable and what waits.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use crate::{Body, DiskId, Effect, Seq, Ticket, Write};

/// What waits for a write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Held {
    /// A message.
    Send(DiskId, Body),
    /// The log is durable up to here.
    Log(Seq),
}

/// See the file's comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outbox {
    effects: Vec<Effect>,
    written: Ticket,
    durable: Ticket,
    held: VecDeque<(Ticket, Held)>,
}

/// How much was written before makes no difference to what will be done, only how far it is ahead of what is durable: whoever looks at
/// all states takes those for one.
impl Hash for Outbox {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.effects, self.written - self.durable, self.held.len()).hash(state);
        for (ticket, held) in &self.held {
            (self.written - ticket, held).hash(state);
        }
    }
}

impl Outbox {
    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn write(&mut self, write: Write) {
        self.written += 1;
        if let Write::Cut(after) = write {
            for (_, held) in &mut self.held {
                if let Held::Log(seq) = held {
                    *seq = (*seq).min(after);
                }
            }
        }
        self.effects.push(Effect::Write(self.written, write));
    }

    /// Holds something back until all that was written so far is durable.
    pub(crate) fn hold(&mut self, held: Held) {
        self.held.push_back((self.written, held));
    }

    /// Lets go of all that waits for the log, which was replaced.
    pub(crate) fn forget(&mut self) {
        self.held.clear();
    }

    /// Notes what is durable now.
    pub(crate) fn durable(&mut self, ticket: Ticket) {
        self.durable = self.durable.max(ticket.min(self.written));
    }

    /// The next of what need not wait any more.
    pub(crate) fn release(&mut self) -> Option<Held> {
        let (ticket, _) = self.held.front()?;
        if *ticket > self.durable {
            return None;
        }
        self.held.pop_front().map(|(_, held)| held)
    }

    pub(crate) fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_leaves_in_order_and_not_before_its_write() {
        let mut outbox = Outbox::default();
        outbox.hold(Held::Log(0));
        outbox.write(Write::Append(vec![]));
        outbox.hold(Held::Log(7));
        outbox.write(Write::Append(vec![]));
        outbox.hold(Held::Log(9));
        assert_eq!(outbox.release(), Some(Held::Log(0)));
        assert_eq!(outbox.release(), None);
        outbox.durable(1);
        assert_eq!((outbox.release(), outbox.release()), (Some(Held::Log(7)), None));
        outbox.write(Write::Cut(8));
        outbox.durable(99);
        assert_eq!((outbox.release(), outbox.release()), (Some(Held::Log(8)), None));
        assert_eq!(outbox.take().len(), 3);
    }
}
