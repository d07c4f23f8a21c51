//! What the end to end tests stand on: a cluster, a client, sample data, faults, and figures.

pub mod apiserver;
pub mod audit;
pub mod cluster;
pub mod faults;
pub mod figures;
pub mod history;
pub mod inside;
pub mod load;
pub mod namespace;
pub mod ports;
pub mod qdrant;
pub mod sample;
pub mod skip;
