//! The register: compare-and-swap on one object, whose answers may be late or lost.

use rand::Rng;
use rand::rngs::StdRng;
use shoal_consensus::{CasOutcome, Input, Phase, Register, Version};

use crate::check::{Broken, Check};
use crate::plan::Aim;
use crate::world::{Event, World};

/// See the file's comment.
#[derive(Debug)]
pub(crate) struct Store {
    number: u64,
    /// `None` while the object is gone.
    content: Option<Register>,
    /// What it said before, for watches that are behind.
    before: Vec<(Version, Register)>,
    /// Of a hundred requests, how many are not carried out or not answered.
    pub(crate) lost: u32,
}

impl Store {
    pub(crate) fn new(content: Register) -> Self {
        Self { number: 1, content: Some(content), before: Vec::new(), lost: 0 }
    }

    pub(crate) fn read(&self) -> Option<(Version, Register)> {
        Some((Version(self.number.to_string()), self.content.clone()?))
    }

    /// What a watch that is behind tells.
    pub(crate) fn stale(&self, random: &mut StdRng) -> Option<(Version, Register)> {
        let at = random.random_range(0..=self.before.len());
        self.before.get(at).cloned().or_else(|| self.read())
    }

    /// R1 and R4 say what may follow what, so that is checked.
    pub(crate) fn swap(
        &mut self,
        expected: &Version,
        wanted: Register,
    ) -> Result<CasOutcome, Broken> {
        let Some((version, was)) = self.read().filter(|(version, _)| version == expected) else {
            return Ok(CasOutcome::Conflict);
        };
        let next = wanted.epoch;
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
        self.before.push((version, was));
        Ok(self.put(wanted))
    }

    fn put(&mut self, content: Register) -> CasOutcome {
        self.number += 1;
        self.content = Some(content);
        CasOutcome::Done(Version(self.number.to_string()))
    }

    /// R14: creates the object, if there is none.
    pub(crate) fn create(&mut self, wanted: Register) -> CasOutcome {
        match self.content {
            Some(_) => CasOutcome::Conflict,
            None => self.put(wanted),
        }
    }

    /// The object is deleted.
    pub(crate) fn delete(&mut self) {
        self.before.extend(self.read());
        self.content = None;
    }

    /// It is restored from a backup: an older content, under a version of its own.
    pub(crate) fn set_back(&mut self, random: &mut StdRng) {
        if let Some((_, content)) = self.stale(random) {
            self.restore(content);
        }
    }

    pub(crate) fn restore(&mut self, content: Register) {
        self.before.clear();
        self.put(content);
    }

    /// What a request meets: whether it is carried out, and whether it is answered.
    pub(crate) fn luck(&self, random: &mut StdRng) -> (bool, bool) {
        match random.random_range(0..100) < self.lost {
            true => (random.random_bool(0.5), false),
            false => (true, true),
        }
    }
}

impl World {
    /// Whether a process gets through to the register at all.
    pub(crate) fn reaches_register(&self, node: usize) -> bool {
        self.plan.aim != Aim::OneReaches || node == 0
    }

    pub(crate) fn delete_register(&mut self) {
        self.store.delete();
        self.watches();
    }

    pub(crate) fn read_register(&mut self, node: usize, run: u64) -> Result<(), Broken> {
        let (_, answered) = self.store.luck(&mut self.random);
        let input = match answered && self.reaches_register(node) {
            true => Input::Register { found: self.store.read(), live: true },
            false => Input::NoRegister,
        };
        let ms = self.answer_takes(20, 1_000);
        self.after(ms, Event::Step(node, run, input));
        Ok(())
    }

    /// Swaps it from a version, or creates it.
    pub(crate) fn swap_register(
        &mut self,
        node: usize,
        run: u64,
        from: Option<&Version>,
        wanted: Register,
    ) -> Result<(), Broken> {
        let (done, answered) = self.store.luck(&mut self.random);
        let mut outcome = CasOutcome::Unknown;
        if done && self.reaches_register(node) {
            let before = self.store.read();
            let swapped = match from {
                Some(version) => self.store.swap(version, wanted.clone())?,
                None => self.store.create(wanted.clone()),
            };
            let is_done = matches!(swapped, CasOutcome::Done(_));
            let more = before.as_ref().is_some_and(|(_, before)| {
                wanted.members.generation() > before.members.generation()
            });
            if answered && !(is_done && more && self.aim_at_answer(node, &wanted)) {
                outcome = swapped;
            }
            self.watches();
            match before {
                Some((_, before)) if is_done => self.aim_at_swap(node, &before, &wanted),
                None if is_done => self.outcome.created += 1,
                _ => {}
            }
        }
        let ms = self.answer_takes(50, 1_500);
        self.after(ms, Event::Step(node, run, Input::Swapped { wanted, outcome }));
        Ok(())
    }
}
