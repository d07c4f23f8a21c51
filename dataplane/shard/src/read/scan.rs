//! What concerns all points that pass a filter: how many they are, and their ids.

use shoal_vector::{Filter, PointId};

use super::matching::{Checker, Filtering, each_match};
use super::{Projection, ReadError};
use crate::segment::Damage;
use crate::view::{Located, View};

/// Ids of all live points that match, each once. For ops, which are carried through whoever waits.
pub(crate) fn matching_ids(view: &View, filter: &Filter) -> Result<Vec<PointId>, ReadError> {
    let filtering = Filtering::of_op(filter, &view.indexes)?;
    let mut ids = Vec::new();
    each_match(view, &filtering, || Ok::<_, Damage>(()), |located| ids.push(located.id))?;
    Ok(ids)
}

/// How many live points match.
pub(crate) fn count(
    view: &View,
    filter: Option<&Filter>,
    projection: &Projection<'_>,
) -> Result<u64, ReadError> {
    let Some(filter) = filter else { return Ok(view.points) };
    let filtering = Filtering::new(filter, &view.indexes)?;
    let mut count = 0;
    if filtering.matcher.only_ids().is_some() {
        each_match(view, &filtering, || projection.go_on(), |_| count += 1)?;
        return Ok(count);
    }
    let mut checker = Checker::in_order(view, &filtering.matcher);
    let mut look = |located: Located<'_>, sure: bool| {
        projection.go_on()?;
        count += u64::from(sure || checker.passes(&located)?);
        Ok::<_, ReadError>(())
    };
    view.memory().try_for_each(|layer| filtering.in_memory(view, layer).each(&mut look))?;
    let mut sure = 0;
    for placed in &view.segments {
        let candidates = filtering.candidates(placed);
        if candidates.all_are_sure() {
            sure += candidates.bits.count() as u64;
            continue;
        }
        candidates.each(view, &mut look)?;
    }
    Ok(count + sure)
}
