//! How the replicas of a shard agree: who leads, what is committed, who belongs to them. No IO, no clock, no randomness.
//!
//! A [`Replica`] is told what happened ([`Input`]: a message, a tick, that something is on the disk, what the register
//! says) together with the time and a random number, and answers with what is to be done ([`Effect`]). Everything that a
//! replica must not say before it is durable is held back in here until it is told so; whoever carries out the effects
//! needs to know nothing of the rules.
//!
//! The rules are those numbered R1 to R14; where code stands for one of them, it says so. In short: epochs are
//! fenced through a register that is changed by compare-and-swap (`register.rs`), the elected replica is the one whose log
//! goes furthest among enough promises (`election.rs`), it appends to the others' logs (`primary.rs`, `follower.rs`), and what is
//! on the disks of a write quorum is committed. Members change one step at a time through a joint configuration
//! (`members.rs`). What callers of a shard do is in `client/`.
//!
//! Invariants: `base <= commit <= last` and `durable <= last`, asserted after every step; epochs in a log do not go back,
//! asserted where it grows; nothing at or below `commit` is ever cut, which would be quarantine; who leads promised that epoch and
//! none since.

pub mod client;
mod config;
mod effects;
mod entry;
mod ids;
mod io;
mod log;
mod message;
mod mistakes;
mod recent;
mod register;
mod replica;
mod timing;

pub use config::{Config, Members, MembersError};
pub use entry::{Entry, What};
pub use ids::{DiskId, Epoch, Identity, Incarnation, Position, Seq};
pub use io::{
    Answer, CasOutcome, Effect, Input, Millis, ProposalId, ReadId, Refusal, Ticket, Write,
};
pub use log::{Log, Restored};
pub use message::{Body, Message, Promise};
pub use mistakes::{Mistake, Mistakes};
pub use recent::{RECENT_OPS, Recent};
pub use register::{Phase, Register, Version};
pub use replica::{Acks, Replica, Role, Settings, Status};
pub use timing::{Timing, TimingError};
