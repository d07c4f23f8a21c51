//! What a replica is told, and what it wants done.

use crate::{
    Config, DiskId, Entry, Epoch, Members, Message, Position, Recent, Register, Seq, Version,
};

/// Milliseconds of a clock that only goes forward. Only liveness rests on it.
pub type Millis = u64;

/// Names a write. They count up, and what is durable is told by the last of them.
pub type Ticket = u64;

/// Names a proposal; drawn by whoever proposes.
pub type ProposalId = u64;

/// Names a strong read; drawn by whoever reads.
pub type ReadId = u64;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// A message came.
    Received(Message),
    /// All writes up to this one are durable.
    Durable(Ticket),
    /// What the register says.
    Register {
        /// Its version and content; `None` if there is none.
        found: Option<(Version, Register)>,
        /// Whether it was read from where swaps are decided, after that was asked for; a watch may be behind.
        live: bool,
    },
    /// The register could not be read.
    NoRegister,
    /// A compare-and-swap ended.
    Swapped {
        /// What the register was to become.
        wanted: Register,
        /// Whether it did.
        outcome: CasOutcome,
    },
    /// An op to be appended, unless it is in the log already: then this waits for that one (R12).
    Propose {
        /// Comes back with the answer.
        id: ProposalId,
        /// See [`What::Op`](crate::What::Op).
        client_id: u64,
        /// See [`What::Op`](crate::What::Op).
        op_id: u64,
        /// The op, encoded.
        body: bytes::Bytes,
    },
    /// A read that must see all that was acknowledged before it.
    Read(ReadId),
    /// Entries that were asked for by [`Effect::ReadLog`], as many as suit; none if they are gone.
    LogRead {
        /// For whom.
        peer: DiskId,
        /// In order.
        entries: Vec<Entry>,
    },
    /// The log up to a position is flushed and was dropped, except for what it said of the members.
    Trimmed(Position),
    /// A whole snapshot came.
    Offered {
        /// From this primary.
        from: DiskId,
        /// It led this epoch when it sent it.
        epoch: Epoch,
        /// The last entry that it holds.
        at: Position,
    },
    /// A snapshot took the place of the log and all before it, as was asked for; the log goes on behind this.
    Installed {
        /// The last entry that it holds.
        at: Position,
        /// The newest configuration in it.
        config: Option<Config>,
        /// The ops in it that are still recognised, in order.
        recent: Vec<Recent>,
    },
    /// Who is to vote from now on; only the primary heeds it.
    Change(Members),
    /// Who gets the log besides the voters.
    Learners(Vec<DiskId>),
    /// Somebody else is to lead; only the primary heeds it.
    StepAside(DiskId),
}

/// How a compare-and-swap ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CasOutcome {
    /// Done; the object is now of this version.
    Done(Version),
    /// Not done, because the object was of another version.
    Conflict,
    /// Done or not (R1).
    Unknown,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// To be made durable, in the order of tickets. Several may share one sync.
    Write(Ticket, Write),
    /// To be sent, once; it may be lost.
    Send(DiskId, Message),
    /// Entries from a seq on are to be read back for a replica that fell behind.
    ReadLog {
        /// For whom.
        peer: DiskId,
        /// From here on.
        from: Seq,
    },
    /// A replica needs entries that are gone, so it is to be sent a snapshot.
    SendSnapshot {
        /// Who.
        to: DiskId,
        /// The epoch that is led here.
        epoch: Epoch,
    },
    /// The snapshot that was offered is to take the place of the log, after all writes before this are durable and before
    /// anything else is told.
    Install,
    /// The register is to be read live.
    ReadRegister,
    /// The register is to be changed, if it is still of this version.
    Swap(Version, Register),
    /// The register is to be created, if there is none (R14). How that ended is told as [`Input::Swapped`]; `Conflict` if there is
    /// one.
    Create(Register),
    /// All up to here is to be applied, in order.
    Commit(Seq),
    /// A proposal has its answer; `Committed` is to be told when it is visible, `Durable` at once.
    Answer(ProposalId, Answer),
    /// A strong read may go on once this seq is applied, or may not (R9).
    ReadAt(ReadId, Result<Seq, Refusal>),
    /// The log contradicts what was committed: nothing more is to be served from this disk.
    Quarantine(String),
}

/// Something to make durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// The promised epoch.
    Promise(Epoch),
    /// Entries behind the last one.
    Append(Vec<Entry>),
    /// Nothing behind this seq is part of the log any more; what is cut is kept aside (R6).
    Cut(Seq),
}

/// What becomes of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It is committed there.
    Committed(Seq),
    /// It is durable there on this replica alone and may yet be lost, as `acks: Primary` accepts (R7).
    Durable(Seq),
    /// It was not appended; it may be sent elsewhere.
    Refused(Refusal),
    /// It was appended, and whether it will be committed is not known (R8).
    Unknown,
}

/// Why something was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Another one leads, or nobody.
    NotPrimary {
        /// Who does, as far as is known.
        primary: Option<DiskId>,
    },
    /// It leads, but what came before is not committed yet (R5), or another takes over: to be tried again soon.
    NotYet,
    /// Too much waits: writes to be committed, or strong reads to be confirmed.
    Busy,
}
