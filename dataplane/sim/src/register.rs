//! The register: compare-and-swap on one object, whose answers may be late or lost.

use rand::Rng;
use rand::rngs::StdRng;
use shoal_consensus::{CasOutcome, Phase, Register, Version};

use crate::check::{Broken, Check};

/// See the file's comment.
#[derive(Debug)]
pub(crate) struct Store {
    number: u64,
    content: Register,
    /// What it said before, for watches that are behind.
    before: Vec<(Version, Register)>,
    /// Of a hundred requests, how many are not carried out or not answered.
    pub(crate) lost: u32,
}

impl Store {
    pub(crate) fn new(content: Register) -> Self {
        Self { number: 1, content, before: Vec::new(), lost: 0 }
    }

    pub(crate) fn read(&self) -> (Version, Register) {
        (Version(self.number.to_string()), self.content.clone())
    }

    /// What a watch that is behind tells.
    pub(crate) fn stale(&self, random: &mut StdRng) -> Option<(Version, Register)> {
        let at = random.random_range(0..=self.before.len());
        Some(self.before.get(at).cloned().unwrap_or_else(|| self.read()))
    }

    /// R1 and R4 say what may follow what, so that is checked.
    pub(crate) fn swap(
        &mut self,
        expected: &Version,
        wanted: Register,
    ) -> Result<CasOutcome, Broken> {
        if self.read().0 != *expected {
            return Ok(CasOutcome::Conflict);
        }
        let (was, next) = (&self.content, wanted.epoch);
        let follows = match wanted.phase {
            Phase::Electing => was.epoch.is_before(next),
            Phase::Stable { primary } => {
                was.epoch == next && was.primary().is_none_or(|before| before == primary)
            }
        };
        if !follows {
            let detail = format!("the register goes from {was:?} to {wanted:?}");
            return Err(Broken { check: Check::RegisterGoesOn, detail });
        }
        self.before.push(self.read());
        self.number += 1;
        self.content = wanted;
        Ok(CasOutcome::Done(self.read().0))
    }

    /// It is restored from a backup: an older content, under a version of its own.
    pub(crate) fn set_back(&mut self, random: &mut StdRng) {
        if let Some((_, content)) = self.stale(random) {
            self.before.clear();
            self.number += 1;
            self.content = content;
        }
    }

    /// What a request meets: whether it is carried out, and whether it is answered.
    pub(crate) fn luck(&self, random: &mut StdRng) -> (bool, bool) {
        match random.random_range(0..100) < self.lost {
            true => (random.random_bool(0.5), false),
            false => (true, true),
        }
    }
}
