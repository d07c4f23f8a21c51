//! Places on the earth, by latitude: which points have one within an area.
//!
//! An area lies between two parallels; what lies between them is asked whether it lies within, by the same test that a
//! matcher asks. Invariant: latitudes ascend, and there are as many of everything.

use serde::{Deserialize, Serialize};
use shoal_vector::filter::geo::{Circle, Polygon};
use shoal_vector::filter::{GeoBox, GeoPoint, GeoPolygon, GeoRadius};

use super::bits::Bits;

/// Metres of a degree of latitude, by a little less than the radius that circles are measured by, so that bounds are wide
/// enough.
const METRES_PER_DEGREE: f64 = 111_000.0;

/// Degrees that bounds are wider than they need be, for what rounding does to them.
const SLACK: f64 = 1e-6;

/// See the file's comment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Places {
    lats: Vec<f64>,
    lons: Vec<f64>,
    ordinals: Vec<u32>,
}

impl Places {
    /// Of places and the ordinals that have them, in any order.
    pub(super) fn of(mut entries: Vec<(GeoPoint, u32)>) -> Self {
        entries.sort_unstable_by(|a, b| a.0.lat.total_cmp(&b.0.lat).then(a.1.cmp(&b.1)));
        Self {
            lats: entries.iter().map(|(place, _)| place.lat).collect(),
            lons: entries.iter().map(|(place, _)| place.lon).collect(),
            ordinals: entries.iter().map(|(_, ordinal)| *ordinal).collect(),
        }
    }

    /// Checks what was read from a disk.
    pub(super) fn revive(&self, len: u32) -> Result<(), &'static str> {
        let fits = self.lats.len() == self.lons.len()
            && self.lats.len() == self.ordinals.len()
            && self.lats.is_sorted_by(|a, b| a.total_cmp(b).is_le())
            && self.ordinals.iter().all(|ordinal| *ordinal < len);
        if fits { Ok(()) } else { Err("places do not fit together") }
    }

    /// Points with a place in a box.
    pub(super) fn in_box(&self, area: &GeoBox, len: u32) -> Bits {
        let bounds = (area.bottom_right.lat, area.top_left.lat);
        self.between(bounds, len, |place| area.contains(place))
    }

    /// Points with a place in a circle; `None` if it is none.
    pub(super) fn in_circle(&self, area: &GeoRadius, len: u32) -> Option<Bits> {
        let circle = Circle::new(area).ok()?;
        let degrees = area.radius.max(0.0) / METRES_PER_DEGREE;
        let bounds = (area.center.lat - degrees, area.center.lat + degrees);
        // Beyond a pole, and at latitudes that are none, a circle is not between two parallels.
        let is_plain = bounds.0 > -90.0 && bounds.1 < 90.0 && self.are_on_earth();
        let bounds = if is_plain { bounds } else { (f64::NEG_INFINITY, f64::INFINITY) };
        Some(self.between(bounds, len, |place| circle.contains(place)))
    }

    /// Points with a place in a polygon; `None` if it is none.
    pub(super) fn in_polygon(&self, area: &GeoPolygon, len: u32) -> Option<Bits> {
        let polygon = Polygon::new(area).ok()?;
        let lats = area.exterior.iter().map(|corner| corner.lat);
        let bounds = lats.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), lat| {
            (least.min(lat), most.max(lat))
        });
        Some(self.between(bounds, len, |place| polygon.contains(place)))
    }

    fn are_on_earth(&self) -> bool {
        self.lats.first().is_none_or(|lat| *lat >= -90.0)
            && self.lats.last().is_none_or(|lat| *lat <= 90.0)
    }

    fn between(
        &self,
        (south, north): (f64, f64),
        len: u32,
        contains: impl Fn(GeoPoint) -> bool,
    ) -> Bits {
        let mut bits = Bits::none(len);
        let start = self.lats.partition_point(|lat| *lat < south - SLACK);
        let end = self.lats.partition_point(|lat| *lat <= north + SLACK).max(start);
        for at in start..end {
            if contains(GeoPoint { lat: self.lats[at], lon: self.lons[at] }) {
                bits.set(self.ordinals[at]);
            }
        }
        bits
    }

    /// Adds all points.
    pub(super) fn add_all(&self, bits: &mut Bits) -> usize {
        self.ordinals.iter().for_each(|ordinal| bits.set(*ordinal));
        self.ordinals.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.ordinals.len() * 20
    }
}
