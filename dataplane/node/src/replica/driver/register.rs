//! What the rules want of the register. None of it is waited for: what comes of it is an event.
//!
//! Invariant: it is read once at a time, however often that is asked for: a register that answers slowly does not become slower by
//! being asked more.

use shoal_consensus::{CasOutcome, Input, Register, Version};

use super::Driver;
use crate::replica::handle::Event;
use crate::replica::register::founding::Holds;
use crate::replica::register::{RegisterError, Seen};
use crate::replica::start::Outside;

/// Whether the register is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reading {
    /// It is not.
    #[default]
    Idle,
    /// It is.
    UnderWay,
    /// It is, and since it began it was asked for again: what it says may be older than that.
    Again,
}

impl Reading {
    /// Asks for it to be read. True if it is to be read now.
    fn ask(&mut self) -> bool {
        let idle = *self == Self::Idle;
        *self = if idle { Self::UnderWay } else { Self::Again };
        idle
    }

    /// It was read. True if that was asked for again.
    fn end(&mut self) -> bool {
        std::mem::take(self) == Self::Again
    }
}

impl Driver {
    pub(super) fn read_register(&mut self) {
        if self.reading.ask() {
            self.outside.read_register(self.holds());
        }
    }

    /// What it says, or none if it could not be read.
    pub(super) fn register_read(&mut self, read: Option<Seen>) {
        let again = self.reading.end();
        match read {
            Some(seen) => {
                self.look(&seen);
                let found = seen.stored.map(|stored| (stored.version, stored.register));
                self.step(Input::Register { found, live: true });
            }
            None => self.step(Input::NoRegister),
        }
        // Unless that had it read again already.
        if again && self.reading == Reading::Idle {
            self.read_register();
        }
    }
}

impl Outside {
    fn read_register(&self, holds: Holds) {
        let (register, events, founding) =
            (self.register.clone(), self.events.clone(), self.founding(holds));
        self.runtime.spawn(async move {
            let event = match register.read().await {
                Ok(seen) => match founding.found(register.as_ref(), seen).await {
                    Ok(seen) => Event::Register(seen),
                    Err(error) => not_read(&error),
                },
                Err(error) => not_read(&error),
            };
            let _ = events.send(event).await;
        });
    }

    pub(super) fn swap(&self, from: Option<Version>, to: Register) {
        let (register, events) = (self.register.clone(), self.events.clone());
        self.runtime.spawn(async move {
            let outcome: CasOutcome = register.swap(from.as_ref(), &to).await;
            let _ = events.send(Event::Swapped(to, outcome)).await;
        });
    }
}

fn not_read(error: &RegisterError) -> Event {
    tracing::debug!(%error, "the register was not read");
    Event::NoRegister
}

#[cfg(test)]
mod tests {
    use super::Reading;

    #[test]
    fn what_is_asked_for_while_it_is_read_is_read_once_more_after_that() {
        let mut reading = Reading::default();
        assert!(reading.ask());
        assert!(!reading.end(), "nobody asked since");
        assert!(reading.ask());
        assert!(!reading.ask() && !reading.ask());
        assert!(reading.end());
        assert!(reading.ask(), "once, for both who asked");
        assert!(!reading.end());
    }
}
