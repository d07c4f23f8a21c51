//! The operator against a real API server, with the rights of its own roles and no others. No pods run here: tests play
//! the kubelet and the controllers of Kubernetes by writing the statuses these would write.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod conflicts;
mod disks;
mod failovers;
mod fakes;
mod from_one;
mod leader;
mod lifecycle;
mod moves;
mod repair;
mod replicas;
mod rights;
mod rolling;
mod sizes;
mod steady;
mod world;
