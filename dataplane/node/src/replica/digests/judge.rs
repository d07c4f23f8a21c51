//! Whose copy differs, given the digests of one seq. Pure.
//!
//! A primary has a log like the others' and a copy that may be damaged like theirs. So it says what a bucket is to hold only
//! where a majority of those that vote hold the same, itself among them. Invariant: nothing is mended by a copy that stands
//! alone.

use std::collections::BTreeMap;

use shoal_consensus::DiskId;
use shoal_shard::digest::{Bucket, Digest};

/// What another replica holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a> {
    pub(super) disk: DiskId,
    /// Whether it votes. One that does not is mended and decides nothing.
    pub(super) votes: bool,
    pub(super) digest: &'a Digest,
}

/// What came of comparing. Numbers are those of buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// By replica: where it differs from the primary and a majority.
    pub(super) others: BTreeMap<DiskId, Vec<usize>>,
    /// Where a majority holds the same, and the primary something else.
    pub(super) own: Vec<usize>,
    /// Where no majority holds the same.
    pub(super) undecided: Vec<usize>,
}

impl Verdict {
    /// Whether all hold the same.
    pub(super) fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

/// Compares the primary's digest with those of others, of so many that vote.
pub(super) fn judge(own: &Digest, answers: &[Answer<'_>], voters: usize) -> Verdict {
    let mut verdict = Verdict::default();
    for (number, bucket) in own.buckets.iter().enumerate() {
        let theirs = |answer: &Answer<'_>| answer.digest.buckets.get(number).copied();
        if answers.iter().all(|answer| theirs(answer) == Some(*bucket)) {
            continue;
        }
        let voting = || answers.iter().filter(|answer| answer.votes).filter_map(theirs);
        let holding = |what: &Bucket| voting().filter(|other| other == what).count();
        let is_majority = |count: usize| 2 * count > voters;
        if is_majority(1 + holding(bucket)) {
            for answer in answers.iter().filter(|answer| theirs(answer) != Some(*bucket)) {
                verdict.others.entry(answer.disk).or_default().push(number);
            }
        } else if voting().any(|other| other != *bucket && is_majority(holding(&other))) {
            verdict.own.push(number);
        } else {
            verdict.undecided.push(number);
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use shoal_shard::digest::DIGEST_BUCKETS;

    use super::*;

    /// A digest in which some buckets hold so many points.
    fn digest(held: &[(usize, u64)]) -> Digest {
        let mut buckets = vec![Bucket::default(); DIGEST_BUCKETS];
        held.iter().for_each(|&(number, points)| buckets[number].points = points);
        Digest { seq: 5, buckets }
    }

    fn judged(own: &[(usize, u64)], others: &[(bool, &[(usize, u64)])], voters: usize) -> Verdict {
        let digests: Vec<Digest> = others.iter().map(|(_, held)| digest(held)).collect();
        let answers = others.iter().zip(&digests).zip(1..);
        let answers = answers.map(|((&(votes, _), digest), disk)| {
            let disk = DiskId(disk);
            Answer { disk, votes, digest }
        });
        judge(&digest(own), &answers.collect::<Vec<_>>(), voters)
    }

    fn mended(others: &[(u128, &[usize])]) -> Verdict {
        let others = others.iter().map(|&(disk, numbers)| (DiskId(disk), numbers.to_vec()));
        Verdict { others: others.collect(), ..Verdict::default() }
    }

    #[test]
    fn one_of_three_that_differs_is_mended_and_a_primary_that_does_is_not_believed() {
        let (same, other): (&[_], &[_]) = (&[(3, 1)], &[(3, 2)]);
        assert!(judged(same, &[(true, same), (true, same)], 3).is_clean());
        assert_eq!(judged(same, &[(true, other), (true, same)], 3), mended(&[(1, &[3])]));
        let odd = judged(other, &[(true, same), (true, same)], 3);
        assert_eq!(odd, Verdict { own: vec![3], ..Verdict::default() });
        // Each in a bucket of its own.
        let both = judged(&[], &[(true, &[(7, 1)]), (true, &[(9, 1), (11, 1)])], 3);
        assert_eq!(both, mended(&[(1, &[7]), (2, &[9, 11])]));
    }

    #[test]
    fn without_a_majority_nobody_is_believed() {
        let (one, two, three): (&[_], &[_], &[_]) = (&[(3, 1)], &[(3, 2)], &[(3, 3)]);
        let undecided = Verdict { undecided: vec![3], ..Verdict::default() };
        assert_eq!(judged(one, &[(true, two)], 3), undecided, "the third does not answer");
        assert_eq!(judged(one, &[(true, two), (true, three)], 3), undecided);
        assert_eq!(judged(one, &[(true, two)], 2), undecided);
        // With the third silent, two that agree are a majority.
        assert!(judged(one, &[(true, one)], 3).is_clean());
        assert_eq!(judged(one, &[(true, one), (true, two)], 5), undecided);
    }

    #[test]
    fn one_that_does_not_vote_is_mended_and_decides_nothing() {
        let (same, other): (&[_], &[_]) = (&[(3, 1)], &[(3, 2)]);
        let answers = [(true, same), (true, same), (false, other)];
        assert_eq!(judged(same, &answers, 3), mended(&[(3, &[3])]));
        let undecided = Verdict { undecided: vec![3], ..Verdict::default() };
        assert_eq!(judged(same, &[(false, other), (false, other)], 3), undecided);
        // A shard of one that votes, whose next follows.
        assert_eq!(judged(same, &[(false, other)], 1), mended(&[(1, &[3])]));
    }
}
