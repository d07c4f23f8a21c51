//! Which segments to merge next: size-tiered, over neighbours only.
//!
//! A segment's tier is the power of four of its live points over those of a flush. Neighbours of a tier or below become
//! one as soon as that is of a higher tier, so a point is written once per tier, and there are few segments to search.
//! Many that are smaller than a flush become one too, and a segment much of which is dead is written anew by itself, so
//! that its space comes back. Neighbours only, because an edit counts for what lies below it: segments never change
//! their order.

use std::ops::Range;

/// So many neighbours of the lowest tier are merged however small they are: those of deletes hold no points at all.
const MANY_SMALL: usize = 8;

/// A segment is written anew when this share of its points is dead.
const MOSTLY_DEAD: f64 = 0.3;

/// How large a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Points that live.
    pub(super) live: u64,
    /// Points that are dead.
    pub(super) dead: u64,
}

/// The segments to merge, if any: a range of `sizes`, which are in the order of the segments. `flush` is how many points
/// a flush writes, `most` how many live points a merged segment may have.
pub(super) fn plan(sizes: &[Size], flush: u64, most: u64) -> Option<Range<usize>> {
    let tier = |live: u64| (live / flush.max(1)).max(1).ilog(4);
    let highest = sizes.iter().map(|size| tier(size.live)).max()?;
    for level in 0..=highest {
        let mut start = 0;
        while start < sizes.len() {
            let here = &sizes[start..];
            let low = here.iter().take_while(|size| tier(size.live) <= level).count();
            let worth = |run: &[Size]| {
                let live = run.iter().map(|size| size.live).sum();
                tier(live) > level || (level == 0 && run.len() >= MANY_SMALL)
            };
            if let Some(run) = first_within(&here[..low], most, worth) {
                return Some(start + run.start..start + run.end);
            }
            start += low + 1;
        }
    }
    let wasteful = |size: &Size| {
        size.dead > 0 && size.dead as f64 >= MOSTLY_DEAD * (size.live + size.dead) as f64
    };
    let at = sizes.iter().position(|size| wasteful(size) && size.live <= most)?;
    Some(at..at + 1)
}

/// The first run, as long as it can be, whose live points are at most `most` and that is worth it.
fn first_within(
    sizes: &[Size],
    most: u64,
    worth: impl Fn(&[Size]) -> bool,
) -> Option<Range<usize>> {
    (0..sizes.len()).find_map(|start| {
        let mut live = 0u64;
        let fits = |size: &&Size| {
            live = live.saturating_add(size.live);
            live <= most
        };
        let count = sizes[start..].iter().take_while(fits).count();
        (count > 1 && worth(&sizes[start..start + count])).then_some(start..start + count)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sizes(live: &[u64]) -> Vec<Size> {
        live.iter().map(|&live| Size { live, dead: 0 }).collect()
    }

    #[test]
    fn neighbours_become_one_where_that_is_of_a_higher_tier() {
        assert_eq!(plan(&sizes(&[10, 10, 10]), 10, 1000), None);
        assert_eq!(plan(&sizes(&[10, 10, 10, 10]), 10, 1000), Some(0..4));
        assert_eq!(plan(&sizes(&[40, 10, 10, 10]), 10, 1000), None);
        assert_eq!(plan(&sizes(&[40, 10, 10, 10, 10]), 10, 1000), Some(1..5));
        assert_eq!(plan(&sizes(&[40, 40, 40, 10, 40]), 10, 1000), Some(0..5));
        // Too large together.
        assert_eq!(plan(&sizes(&[400, 400, 400, 400]), 10, 700), None);
        assert_eq!(plan(&sizes(&[0; 7]), 10, 1000), None);
        assert_eq!(plan(&sizes(&[40, 0, 1, 0, 0, 0, 0, 0, 0]), 10, 1000), Some(1..9));
    }

    #[test]
    fn what_is_mostly_dead_is_written_anew_and_nothing_else_is() {
        let all = [Size { live: 80, dead: 20 }, Size { live: 60, dead: 40 }];
        assert_eq!(plan(&all, 10, 1000), Some(1..2));
        assert_eq!(plan(&[Size { live: 0, dead: 7 }], 10, 1000), Some(0..1));
        assert_eq!(plan(&[Size { live: 0, dead: 0 }], 10, 1000), None);
    }

    proptest! {
        /// Flushes of one size, merged as planned: few segments remain, and a point is written few times.
        #[test]
        fn many_flushes_leave_few_segments_and_little_is_written(flushes in 1usize..600) {
            let (mut all, mut written) = (Vec::new(), 0);
            for _ in 0..flushes {
                all.push(Size { live: 10, dead: 0 });
                while let Some(range) = plan(&all, 10, u64::MAX) {
                    let live = all[range.clone()].iter().map(|size| size.live).sum();
                    written += live;
                    all.splice(range, [Size { live, dead: 0 }]);
                }
            }
            let tiers = u64::from((flushes as u64).ilog(4)) + 1;
            prop_assert!(all.len() as u64 <= 3 * tiers, "{} segments", all.len());
            prop_assert!(written <= flushes as u64 * 10 * tiers);
        }
    }
}
