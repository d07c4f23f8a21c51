//! How much of everything there is.

use shoal_consensus::Mistakes;

/// See the file's comment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Voters at first.
    pub(crate) voters: u128,
    /// The last number of an epoch. Epoch 1 has begun when all begins.
    pub(crate) epochs: u64,
    /// Ops that clients propose.
    pub(crate) writes: u64,
    /// Times that an op is proposed again.
    pub(crate) repeats: u64,
    /// Strong reads.
    pub(crate) reads: u64,
    /// Processes that end and start again.
    pub(crate) crashes: u64,
    /// Swaps of the register without an answer.
    pub(crate) unknown: u64,
    /// Times that something is sent or read again because it had no answer.
    pub(crate) timers: u64,
    /// Not 0: promises and acks arrive as soon as they are sent. Requests may still be late or lost.
    pub(crate) prompt: u64,
    /// Not 0: nothing is left out because it makes no difference (see `reductions.rs`).
    pub(crate) whole: u64,
    /// Changes of members: the last voter is replaced by a new disk.
    pub(crate) changes: u64,
    /// Times that the register is deleted, or set back to what it said at first.
    pub(crate) losses: u64,
    /// Rules that are broken on purpose.
    pub(crate) mistakes: Mistakes,
}

impl Bounds {
    const NONE: Bounds = Bounds {
        voters: 3,
        epochs: 3,
        writes: 0,
        repeats: 0,
        reads: 0,
        crashes: 0,
        unknown: 0,
        timers: 0,
        prompt: 0,
        whole: 0,
        changes: 0,
        losses: 0,
        mistakes: Mistakes::NONE,
    };
    pub(crate) const FAILOVER: Bounds = Bounds { writes: 2, ..Self::NONE };
    pub(crate) const READ: Bounds = Bounds { epochs: 2, writes: 2, reads: 1, ..Self::NONE };
    pub(crate) const CRASH: Bounds =
        Bounds { epochs: 2, writes: 1, repeats: 1, crashes: 1, ..Self::NONE };
    pub(crate) const REPLACEMENT: Bounds =
        Bounds { epochs: 2, prompt: 1, changes: 1, ..Self::NONE };
    pub(crate) const LOSS: Bounds =
        Bounds { epochs: 2, prompt: 1, writes: 1, losses: 1, ..Self::NONE };

    /// As they are written by hand: `name=number`, divided by spaces.
    pub(crate) fn parse(text: &str) -> Self {
        let mut bounds = Self::NONE;
        for pair in text.split_whitespace() {
            let Some((name, Ok(number))) = pair.split_once('=').map(|(n, v)| (n, v.parse())) else {
                panic!("{pair} is not NAME=NUMBER");
            };
            *match name {
                "epochs" => &mut bounds.epochs,
                "writes" => &mut bounds.writes,
                "repeats" => &mut bounds.repeats,
                "reads" => &mut bounds.reads,
                "crashes" => &mut bounds.crashes,
                "prompt" => &mut bounds.prompt,
                "whole" => &mut bounds.whole,
                "timers" => &mut bounds.timers,
                "unknown" => &mut bounds.unknown,
                "changes" => &mut bounds.changes,
                "losses" => &mut bounds.losses,
                _ => panic!("{name} is no bound"),
            } = number;
        }
        bounds
    }
}
