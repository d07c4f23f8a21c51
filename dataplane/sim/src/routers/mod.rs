//! Routers: clients' calls go through `shoal_consensus::client`, as those of a node's router do, over lines that are cut and to
//! processes that end and stand still.
//!
//! `calls.rs` is a router with its calls, `serve.rs` what a replica makes of what arrives, `faults.rs` what goes wrong on the way.
//! A call ends with an answer or at its deadline.

mod calls;
mod faults;
mod serve;

use std::collections::BTreeMap;

use shoal_consensus::client::{Ask, Failure, Known, Leading, Reading, Round};
use shoal_consensus::{DiskId, Refusal, Seq};

/// Routers of a shard.
pub(crate) const ROUTERS: usize = 2;

/// What a router does wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterMistake {
    /// It repeats a write whose outcome it does not know under other ids.
    NewIds,
    /// It does not note what it was acknowledged.
    ForgetsAcks,
    /// It gives a read up once all replicas are behind or silent.
    GivesUpBehind,
    /// It asks one replica alone as long as that is silent.
    WaitsForOne,
    /// It goes on asking whom it took for the primary.
    SticksToOne,
}

impl RouterMistake {
    /// All of them.
    pub const ALL: [RouterMistake; 5] = [
        Self::NewIds,
        Self::ForgetsAcks,
        Self::GivesUpBehind,
        Self::WaitsForOne,
        Self::SticksToOne,
    ];
}

/// All routers, and what is between them and the replicas.
#[derive(Debug, Default)]
pub(crate) struct Routers {
    /// What each knows of the replicas.
    known: Vec<Known>,
    /// The last seq that each was told to be visible, whatever it made of that.
    told: Vec<Seq>,
    calls: BTreeMap<u64, Call>,
    attempts: BTreeMap<u64, Attempt>,
    /// Numbers of calls and attempts.
    next: u64,
    /// By router and replica: until when one cannot reach the other.
    cut: BTreeMap<(usize, usize), u64>,
    /// By router and replica: until when something was wrong with either or between them.
    unwell: BTreeMap<(usize, usize), u64>,
    /// Attempts by proposal, and by strong read.
    proposals: BTreeMap<u64, u64>,
    reads: BTreeMap<u64, u64>,
    /// Writes that were answered.
    pub(crate) acked: u64,
}

/// What a client wants.
#[derive(Clone, Copy, Debug)]
enum Want {
    Write {
        op: u64,
    },
    /// A strong read.
    Strong,
    /// A read of what this router was acknowledged: as far as it knows, and truly.
    Any {
        acked: Seq,
        told: Seq,
    },
}

/// What a router does about it.
#[derive(Clone, Debug)]
enum How {
    Leading(Leading),
    Reading(Reading),
}

#[derive(Clone, Debug)]
struct Call {
    router: usize,
    want: Want,
    how: How,
    began: u64,
    /// The last seq that anybody was acknowledged when it began.
    least: Seq,
}

/// A replica is asked.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    call: u64,
    node: usize,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Lead(Ask),
    Read(Round),
}

/// Something that happens to a call.
#[derive(Clone, Debug)]
pub(crate) enum RouterEvent {
    /// Who leads is to be asked.
    Ask {
        call: u64,
    },
    /// A request arrives.
    Arrive {
        attempt: u64,
    },
    /// A replica that is behind is looked at again, until then.
    Show {
        attempt: u64,
        until: u64,
    },
    /// An answer arrives.
    Reply {
        attempt: u64,
        reply: Reply,
    },
    /// An attempt had its time.
    Silent {
        attempt: u64,
    },
    /// Nobody answered a read for a while.
    Slow {
        call: u64,
    },
    Deadline {
        call: u64,
    },
    /// A router sees what the register says, or said.
    Watch {
        router: usize,
    },
    /// Something goes wrong between routers and replicas.
    Fault,
}

/// What a replica answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// It is done, or what is read is as of this seq.
    At { seq: Seq, visible: bool },
    /// It is not.
    Failed(Refused),
}

/// Why it is not.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refused {
    /// The replica says so.
    Said(Refusal),
    /// It does not show what was asked for.
    Behind,
    /// It cannot be reached, the connection broke, or what became of it is not known.
    Away,
}

impl Refused {
    fn failure(self, node_of: impl Fn(DiskId) -> Option<usize>) -> Failure {
        match self {
            Refused::Said(Refusal::NotPrimary { primary }) => {
                Failure::NotPrimary { primary: primary.and_then(node_of) }
            }
            Refused::Said(Refusal::NotYet | Refusal::Busy) | Refused::Behind => Failure::NotReady,
            Refused::Away => Failure::Away,
        }
    }
}

impl Routers {
    pub(crate) fn new(replicas: usize) -> Self {
        Self {
            known: vec![Known::new(replicas, 0); ROUTERS],
            told: vec![0; ROUTERS],
            ..Self::default()
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A call has ended, and what comes of it later is not waited for.
    fn ends(&mut self, call: u64) -> Option<Call> {
        self.attempts.retain(|_, attempt| attempt.call != call);
        self.calls.remove(&call)
    }

    /// The call that an attempt is for, unless that ended.
    fn call_of(&self, attempt: u64) -> Option<(Attempt, &Call)> {
        let attempt = *self.attempts.get(&attempt)?;
        Some((attempt, self.calls.get(&attempt.call)?))
    }
}
