//! Finding the points that match a filter: by id where the filter names ids, else by looking at all.

use shoal_vector::filter::{Matcher, Subject};
use shoal_vector::payload::read_part;
use shoal_vector::{Filter, Payload, PointId};

use super::{Projection, ReadError};
use crate::apply::parse_payload;
use crate::segment::{Damage, PayloadCache};
use crate::view::{Located, View};

/// Calls `visit` with every live point that matches, for as long as `go_on` says so before each that is looked at.
pub(super) fn each_match<'v, E: From<Damage>>(
    view: &'v View,
    matcher: &Matcher<'_>,
    go_on: impl Fn() -> Result<(), E>,
    mut visit: impl FnMut(Located<'v>),
) -> Result<(), E> {
    let mut cache = PayloadCache::default();
    let mut look = |located: Located<'v>| {
        go_on()?;
        if matches(view, matcher, &located, &mut cache)? {
            visit(located);
        }
        Ok(())
    };
    match matcher.only_ids() {
        Some(ids) => ids.iter().filter_map(|id| view.locate(*id)).try_for_each(look),
        None => view.each(&mut look),
    }
}

/// Whether one live point matches.
pub(super) fn matches(
    view: &View,
    matcher: &Matcher<'_>,
    located: &Located<'_>,
    cache: &mut PayloadCache,
) -> Result<bool, Damage> {
    let payload = match matcher.needs_payload() {
        true => read_part(located.payload(cache)?, matcher.keys())
            .map_err(|error| damaged(located, error.to_string()))?,
        false => Payload::new(),
    };
    let has_vector = |name: &str| view.has_vector(located, name);
    Ok(matcher.matches(&Subject { id: located.id, payload: &payload, has_vector: &has_vector }))
}

/// A live point's payload.
pub(super) fn read_payload(
    located: &Located<'_>,
    cache: &mut PayloadCache,
) -> Result<Payload, Damage> {
    let text = located.payload(cache)?;
    parse_payload(text).map_err(|detail| damaged(located, detail))
}

fn damaged(located: &Located<'_>, detail: String) -> Damage {
    Damage { file: format!("payload of point {}", located.id), detail }
}

/// Ids of all live points that match, each once. For ops, which are carried through whoever waits.
pub(crate) fn matching_ids(view: &View, matcher: &Matcher<'_>) -> Result<Vec<PointId>, Damage> {
    let mut ids = Vec::new();
    each_match(view, matcher, || Ok::<_, Damage>(()), |located| ids.push(located.id))?;
    Ok(ids)
}

/// How many live points match.
pub(crate) fn count(
    view: &View,
    filter: Option<&Filter>,
    projection: &Projection<'_>,
) -> Result<u64, ReadError> {
    let Some(filter) = filter else { return Ok(view.points) };
    let matcher = filter.matcher()?;
    let mut count = 0;
    each_match(view, &matcher, || projection.go_on(), |_| count += 1)?;
    Ok(count)
}
