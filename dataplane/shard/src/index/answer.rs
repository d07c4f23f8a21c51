//! What indexes say about a condition: which points may pass it, and whether all of those do.
//!
//! Invariant: every point that passes is in `most`; where `exact`, no other is. Combining answers keeps that, so a filter
//! of which only a part is indexed narrows what has to be looked at, and never changes what passes.

use super::bits::Bits;

/// See the file's comment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// `None` for all points.
    pub(crate) most: Option<Bits>,
    pub(crate) exact: bool,
}

impl Answer {
    /// Nothing is known.
    pub(crate) const UNKNOWN: Answer = Answer { most: None, exact: false };
    /// All points pass.
    pub(crate) const ALL: Answer = Answer { most: None, exact: true };

    /// These pass, and no others.
    pub(crate) fn exactly(bits: Bits) -> Self {
        Self { most: Some(bits), exact: true }
    }

    /// These may pass, and no others.
    pub(crate) fn at_most(bits: Bits) -> Self {
        let exact = bits.is_empty();
        Self { most: Some(bits), exact }
    }

    /// Of these the points may pass; all of them do where `exact`.
    pub(super) fn of(bits: Bits, exact: bool) -> Self {
        match exact {
            true => Self::exactly(bits),
            false => Self::at_most(bits),
        }
    }

    /// What passes both.
    pub(crate) fn and(self, other: Answer) -> Self {
        let exact = self.exact && other.exact;
        let most = match (self.most, other.most) {
            (Some(mut bits), Some(more)) => {
                bits.keep(&more);
                Some(bits)
            }
            (one, None) | (None, one) => one,
        };
        match most {
            Some(bits) => Self::of(bits, exact),
            None => Self { most: None, exact },
        }
    }

    /// What passes one of the two.
    pub(crate) fn or(self, other: Answer) -> Self {
        match (self, other) {
            (Answer::ALL, _) | (_, Answer::ALL) => Answer::ALL,
            (Answer { most: Some(mut bits), exact }, Answer { most: Some(more), exact: too }) => {
                bits.add(&more);
                Self::of(bits, exact && too)
            }
            _ => Answer::UNKNOWN,
        }
    }

    /// What does not pass, of `len` points.
    pub(crate) fn not(self, len: u32) -> Self {
        match self {
            Answer { most: Some(bits), exact: true } => Self::exactly(bits.complement()),
            Answer::ALL => Self::exactly(Bits::none(len)),
            _ => Answer::UNKNOWN,
        }
    }

    /// What passes at least `least` of some, of `len` points.
    pub(crate) fn at_least(answers: &[Answer], least: usize, len: u32) -> Self {
        let exact = answers.iter().all(|answer| answer.exact);
        let of_all = answers.iter().filter(|answer| answer.most.is_none()).count();
        if of_all >= least {
            let sure = answers.iter().filter(|answer| **answer == Answer::ALL).count();
            return if sure >= least { Answer::ALL } else { Answer::UNKNOWN };
        }
        let mut counts = vec![of_all as u16; len as usize];
        for ordinal in answers.iter().filter_map(|answer| answer.most.as_ref()).flat_map(Bits::iter)
        {
            counts[ordinal as usize] += 1;
        }
        let mut bits = Bits::none(len);
        for (ordinal, count) in (0..len).zip(counts) {
            if usize::from(count) >= least {
                bits.set(ordinal);
            }
        }
        Self::of(bits, exact)
    }
}
