//! Readings of the rules that look right and are not. Simulations switch them on, and must notice.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Mistake {
    /// A promise is given before it is durable.
    UnsyncedPromise,
    /// A fence of the epoch that was promised is refused.
    RefuseSamePromise,
    /// An epoch is led after more was promised.
    LeadAfterPromise,
    /// An append of a higher epoch does not raise the promise.
    AppendKeepsPromise,
    /// A fence is answered while an older append is still to be acknowledged.
    AckAfterFence,
    /// An append that holds less than the log cuts what goes on beyond it.
    CutLongerMatch,
    /// An append is acknowledged up to the end of the log, not of the append.
    AckOwnLast,
    /// An epoch is led on after a restart.
    LeadAfterRestart,
    /// One promise is enough.
    OnePromise,
    /// What earlier epochs appended counts as committed before the no-op does.
    NoBarrier,
    /// The register gets its members before the joint configuration is committed.
    SwapBeforeJoint,
    /// A joint configuration is committed by the new members alone.
    CommitByNew,
    /// A swap of unknown outcome counts as failed.
    UnknownIsFailed,
    /// A swap of unknown outcome counts as done.
    UnknownIsDone,
    /// Whoever elects, and the new primary, do not heed that its log ends in a joint configuration: members are those of the register.
    IgnoreJoint,
    /// Epochs of one number are the same whatever their nonce.
    NoNonce,
    /// The new members of a joint configuration are promised by alone.
    PromiseByNew,
    /// The old ones alone.
    PromiseByOld,
    /// Members are what the register says, also if the log knows better.
    TrustRegister,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Mistake; 19] = [
        Mistake::UnsyncedPromise,
        Mistake::RefuseSamePromise,
        Mistake::LeadAfterPromise,
        Mistake::AppendKeepsPromise,
        Mistake::AckAfterFence,
        Mistake::CutLongerMatch,
        Mistake::AckOwnLast,
        Mistake::LeadAfterRestart,
        Mistake::OnePromise,
        Mistake::NoBarrier,
        Mistake::SwapBeforeJoint,
        Mistake::CommitByNew,
        Mistake::UnknownIsFailed,
        Mistake::UnknownIsDone,
        Mistake::IgnoreJoint,
        Mistake::NoNonce,
        Mistake::PromiseByNew,
        Mistake::PromiseByOld,
        Mistake::TrustRegister,
    ];
}

/// Those that are switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mistakes {
    #[cfg(feature = "mistakes")]
    bits: u32,
}

impl Mistakes {
    /// None.
    pub const NONE: Self = Self {
        #[cfg(feature = "mistakes")]
        bits: 0,
    };

    /// One alone.
    #[cfg(feature = "mistakes")]
    pub fn one(mistake: Mistake) -> Self {
        Self { bits: 1 << mistake as u8 }
    }

    /// Whether a mistake is made. Never, unless the crate was built to make them.
    #[inline(always)]
    pub(crate) fn make(self, mistake: Mistake) -> bool {
        #[cfg(feature = "mistakes")]
        return self.bits >> mistake as u8 & 1 == 1;
        #[cfg(not(feature = "mistakes"))]
        {
            let _ = mistake;
            false
        }
    }
}
