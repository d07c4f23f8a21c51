//! Places on the earth, and whether a place lies within an area.
//!
//! An area's border is not within it. Areas are checked once, where they come in ([`GeoBox::check`] and its like), so that
//! asking about a place cannot fail. Invariant: a checked ring has at least four points and ends where it begins.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Mean radius of the earth in metres (GRS 80), which Qdrant measures by.
const EARTH_RADIUS: f64 = 6_371_008.8;

/// A place, in degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeoPoint {
    /// Longitude, -180 to 180.
    pub lon: f64,
    /// Latitude, -90 to 90.
    pub lat: f64,
}

/// What lies between two meridians and two parallels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeoBox {
    /// The corner in the north-west.
    pub top_left: GeoPoint,
    /// The corner in the south-east. West of the other one when the box crosses the 180th meridian.
    pub bottom_right: GeoPoint,
}

/// What is nearer to a place than a distance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeoRadius {
    /// The middle.
    pub center: GeoPoint,
    /// The distance in metres.
    pub radius: f64,
}

/// What lies within a ring and not within any of the holes, on a plane where degrees are coordinates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeoPolygon {
    /// The ring; its first point is its last.
    pub exterior: Vec<GeoPoint>,
    /// Rings of holes.
    pub interiors: Vec<Vec<GeoPoint>>,
}

/// An area that is none.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum GeoError {
    /// A place that is not on the earth.
    #[error(
        "Wrong format of GeoPoint payload: expected `lat` = {lat} within [-90;90] and `lon` = {lon} within [-180;180]"
    )]
    Point {
        /// Its latitude.
        lat: f64,
        /// Its longitude.
        lon: f64,
    },
    /// A ring of too few points.
    #[error("polygon invalid, the size must be at least 4, got {0}")]
    RingSize(usize),
    /// A ring that does not end where it begins.
    #[error(
        "polygon invalid, the first and the last points should be the same to form a closed line"
    )]
    OpenRing,
    /// A radius that is no number.
    #[error("the radius must be a number of metres, got {0}")]
    Radius(f64),
}

impl GeoPoint {
    /// The place that a payload value is: an object with numbers `lon` and `lat`. Wherever on or off the earth.
    pub fn from_value(value: &Value) -> Option<GeoPoint> {
        let map = value.as_object()?;
        Some(GeoPoint { lon: map.get("lon")?.as_f64()?, lat: map.get("lat")?.as_f64()? })
    }

    /// Whether the place is on the earth.
    pub fn check(self) -> Result<(), GeoError> {
        let GeoPoint { lon, lat } = self;
        let on_earth = (-180.0..=180.0).contains(&lon) && (-90.0..=90.0).contains(&lat);
        if on_earth { Ok(()) } else { Err(GeoError::Point { lat, lon }) }
    }
}

impl GeoBox {
    /// Whether its corners are places.
    pub fn check(&self) -> Result<(), GeoError> {
        self.top_left.check().and(self.bottom_right.check())
    }

    /// Whether a place lies within.
    pub fn contains(&self, place: GeoPoint) -> bool {
        let (west, east) = (self.top_left.lon, self.bottom_right.lon);
        let between_meridians = match west > east {
            true => place.lon > west || place.lon < east,
            false => west < place.lon && place.lon < east,
        };
        between_meridians && self.bottom_right.lat < place.lat && place.lat < self.top_left.lat
    }
}

impl GeoRadius {
    /// Whether it is a circle around a place. A radius of nothing, or of less, is one that nothing lies in.
    pub fn check(&self) -> Result<(), GeoError> {
        self.center.check()?;
        if self.radius.is_finite() { Ok(()) } else { Err(GeoError::Radius(self.radius)) }
    }
}

impl GeoPolygon {
    fn rings(&self) -> impl Iterator<Item = &Vec<GeoPoint>> {
        std::iter::once(&self.exterior).chain(&self.interiors)
    }

    /// How many points its rings have.
    pub(super) fn points(&self) -> usize {
        self.rings().map(Vec::len).sum()
    }

    /// Whether its rings are rings of places.
    pub fn check(&self) -> Result<(), GeoError> {
        self.rings().try_for_each(|ring| check_ring(ring))
    }
}

/// A circle made ready to be asked about many places.
#[derive(Clone, Copy, Debug)]
pub struct Circle {
    center: GeoPoint,
    cos_lat: f64,
    /// Greatest haversine of the angle at the earth's middle, exclusive.
    limit: f64,
}

impl Circle {
    /// Makes a circle ready.
    pub fn new(area: &GeoRadius) -> Result<Circle, GeoError> {
        area.check()?;
        let half_angle = area.radius / (2.0 * EARTH_RADIUS);
        let limit = match half_angle {
            _ if half_angle <= 0.0 => 0.0,
            // More than half around the earth is everywhere.
            _ if half_angle > std::f64::consts::FRAC_PI_2 => f64::INFINITY,
            _ => half_angle.sin().powi(2),
        };
        Ok(Circle { center: area.center, cos_lat: area.center.lat.to_radians().cos(), limit })
    }

    /// Whether a place lies within. Compares haversines instead of distances, which saves an arc sine and a root.
    pub fn contains(&self, place: GeoPoint) -> bool {
        let half = |a: f64, b: f64| ((a - b).to_radians() / 2.0).sin().powi(2);
        let haversine = half(place.lat, self.center.lat)
            + self.cos_lat * place.lat.to_radians().cos() * half(place.lon, self.center.lon);
        haversine < self.limit
    }
}

/// A polygon made ready to be asked about many places.
#[derive(Clone, Copy, Debug)]
pub struct Polygon<'a> {
    area: &'a GeoPolygon,
    /// The corners of the least box around it, in the south-west and in the north-east.
    least: GeoPoint,
    greatest: GeoPoint,
}

/// Where a place is with regard to a ring.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Inside,
    Outside,
    Border,
}

impl<'a> Polygon<'a> {
    /// Makes a polygon ready.
    pub fn new(area: &'a GeoPolygon) -> Result<Polygon<'a>, GeoError> {
        area.check()?;
        let (mut least, mut greatest) = (area.exterior[0], area.exterior[0]);
        for point in &area.exterior {
            least.lon = least.lon.min(point.lon);
            least.lat = least.lat.min(point.lat);
            greatest.lon = greatest.lon.max(point.lon);
            greatest.lat = greatest.lat.max(point.lat);
        }
        Ok(Polygon { area, least, greatest })
    }

    /// Whether a place lies within.
    pub fn contains(&self, place: GeoPoint) -> bool {
        let near = self.least.lon < place.lon
            && place.lon < self.greatest.lon
            && self.least.lat < place.lat
            && place.lat < self.greatest.lat;
        near && side(place, &self.area.exterior) == Side::Inside
            && self.area.interiors.iter().all(|hole| side(place, hole) == Side::Outside)
    }
}

/// Counts how often the ring winds around the place: not at all is outside.
fn side(place: GeoPoint, ring: &[GeoPoint]) -> Side {
    let mut winding = 0;
    for (&from, &to) in ring.iter().zip(ring.iter().cycle().skip(1)) {
        let cross = (to.lon - from.lon) * (place.lat - from.lat)
            - (place.lon - from.lon) * (to.lat - from.lat);
        let between = |a: f64, b: f64, x: f64| a.min(b) <= x && x <= a.max(b);
        if cross == 0.0
            && between(from.lon, to.lon, place.lon)
            && between(from.lat, to.lat, place.lat)
        {
            return Side::Border;
        }
        if from.lat <= place.lat && to.lat > place.lat && cross > 0.0 {
            winding += 1;
        } else if from.lat > place.lat && to.lat <= place.lat && cross < 0.0 {
            winding -= 1;
        }
    }
    if winding == 0 { Side::Outside } else { Side::Inside }
}

/// Whether points are a ring.
pub(super) fn check_ring(points: &[GeoPoint]) -> Result<(), GeoError> {
    let (Some(first), Some(last), 4..) = (points.first(), points.last(), points.len()) else {
        return Err(GeoError::RingSize(points.len()));
    };
    let near = |a: f64, b: f64| (a - b).abs() <= f64::EPSILON;
    if !near(first.lat, last.lat) || !near(first.lon, last.lon) {
        return Err(GeoError::OpenRing);
    }
    points.iter().try_for_each(|point| point.check())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BERLIN: GeoPoint = GeoPoint { lon: 13.404954, lat: 52.520008 };
    const MOSCOW: GeoPoint = GeoPoint { lon: 37.617298, lat: 55.755825 };

    fn at(lon: f64, lat: f64) -> GeoPoint {
        GeoPoint { lon, lat }
    }

    #[test]
    fn a_box_may_cross_the_180th_meridian_and_its_border_is_outside() {
        let area = GeoBox { top_left: at(170.0, 10.0), bottom_right: at(-170.0, -10.0) };
        assert!(area.contains(at(175.0, 0.0)) && area.contains(at(-175.0, 0.0)));
        assert!(!area.contains(at(0.0, 0.0)) && !area.contains(at(175.0, 11.0)));
        let area = GeoBox { top_left: at(-1.0, 1.0), bottom_right: at(1.0, -1.0) };
        assert!(area.contains(at(0.0, 0.0)));
        for border in [at(1.0, 0.0), at(-1.0, 0.0), at(0.0, 1.0), at(0.0, -1.0)] {
            assert!(!area.contains(border));
        }
    }

    #[test]
    fn a_circle_is_measured_in_metres_on_the_earth() {
        let around =
            |center: GeoPoint, radius: f64| Circle::new(&GeoRadius { center, radius }).unwrap();
        // 1,608 km as the crow flies.
        assert!(around(BERLIN, 1_612_000.0).contains(MOSCOW));
        assert!(!around(BERLIN, 1_604_000.0).contains(MOSCOW));
        // A degree on the equator: 111,195 m.
        assert!(around(at(0.0, 0.0), 111_196.0).contains(at(1.0, 0.0)));
        assert!(!around(at(0.0, 0.0), 111_194.0).contains(at(1.0, 0.0)));
        assert!(around(at(179.5, 0.0), 112_000.0).contains(at(-179.5, 0.0)));
        assert!(around(at(0.0, 90.0), 1.0).contains(at(77.0, 90.0)), "all meridians meet");
    }

    #[test]
    fn a_circle_of_nothing_is_empty_and_one_around_the_earth_is_everywhere() {
        let around =
            |radius: f64| Circle::new(&GeoRadius { center: at(0.0, 0.0), radius }).unwrap();
        for radius in [0.0, -0.0, -5.0, -1e300] {
            assert!(!around(radius).contains(at(0.0, 0.0)), "{radius}");
        }
        assert!(around(1.0).contains(at(0.0, 0.0)));
        for radius in [2.1e7, 5e7, f64::MAX] {
            assert!(around(radius).contains(at(180.0, 0.0)), "{radius}");
        }
    }

    #[test]
    fn a_polygon_has_no_border_and_no_holes_within() {
        let square = |from: f64, to: f64| {
            vec![at(from, from), at(to, from), at(to, to), at(from, to), at(from, from)]
        };
        let area = GeoPolygon { exterior: square(0.0, 10.0), interiors: vec![square(4.0, 6.0)] };
        let polygon = Polygon::new(&area).unwrap();
        assert!(polygon.contains(at(1.0, 1.0)) && polygon.contains(at(5.0, 3.9)));
        for outside in
            [at(11.0, 5.0), at(0.0, 5.0), at(10.0, 10.0), at(5.0, 5.0), at(4.0, 5.0), at(6.0, 6.0)]
        {
            assert!(!polygon.contains(outside), "{outside:?}");
        }
    }

    #[test]
    fn areas_from_elsewhere_are_checked() {
        assert_eq!(
            at(0.0, f64::NAN).check().map_err(|error| error.to_string().len() > 50),
            Err(true)
        );
        assert_eq!(at(-180.0, 90.0).check(), Ok(()));
        let nan = Circle::new(&GeoRadius { center: BERLIN, radius: f64::NAN });
        assert!(matches!(nan, Err(GeoError::Radius(_))));
        let ring = vec![BERLIN, MOSCOW, at(0.0, 0.0), BERLIN];
        let area = |exterior: Vec<GeoPoint>, hole| GeoPolygon { exterior, interiors: vec![hole] };
        assert_eq!(area(ring.clone(), ring.clone()).check(), Ok(()));
        assert_eq!(area(ring.clone(), vec![BERLIN; 3]).check(), Err(GeoError::RingSize(3)));
        assert_eq!(area(ring[1..].to_vec(), ring.clone()).check(), Err(GeoError::RingSize(3)));
        let open = vec![BERLIN, MOSCOW, at(0.0, 0.0), at(1.0, 1.0)];
        assert_eq!(area(ring, open).check(), Err(GeoError::OpenRing));
    }
}
