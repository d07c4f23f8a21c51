//! Whom a caller asks, and what it does about an answer that it cannot use: the other side of the protocol. No IO, no clock.
//!
//! A caller, such as a router, keeps one [`Known`] for each shard; all its calls share it. What must reach the primary, a write or
//! a strong read, is a [`Leading`] call: it goes to whoever led last, to whom the others name, to whom the register seats, else
//! round and round until its deadline. A write is repeated under the same ids, so that it is done once (R12). Any other read is a
//! [`Reading`] call, which takes any replica.
//!
//! Replicas are counted in the order in which the caller has them.
//!
//! Invariants: a [`Leading`] call asks one at a time; a [`Reading`] call fails only once every replica failed it, or its deadline
//! passed while each of them was asked.

mod known;
mod leading;
mod reading;

pub use known::Known;
pub use leading::{Ask, Failure, Leading, Then};
pub use reading::{Next, Reading, Round};
