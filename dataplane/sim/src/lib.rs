//! Replicas of a shard, their disks, the network between them, the register and clients, in one process and from one seed.
//!
//! What a seed gives is the same every time, to the line: time is counted in events, and every choice is drawn from the seed.
//! `world.rs` is the loop, `process.rs` is a replica in it, `people.rs` is who asks for something, `faults.rs` is what goes wrong
//! by chance and `aim.rs` what goes wrong at a chosen moment, `disk.rs`, `network.rs` and `register.rs` are what may fail, `check.rs`
//! is what must hold whatever happens and `recovery.rs` what must hold in the end. In `whole/` disks are real ones; in
//! `routers/` clients go through routers.

mod aim;
mod check;
mod disk;
mod faults;
mod flushes;
mod network;
mod people;
mod plan;
mod process;
mod recovery;
mod register;
mod routers;
mod whole;
mod world;

pub use check::{Broken, Check};
pub use plan::{Aim, Outcome, Plan};
pub use routers::RouterMistake;
pub use world::run;
