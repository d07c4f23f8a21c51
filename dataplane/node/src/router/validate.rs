//! Refuses a wrong op before any shard has a part of it. Shards check the same again; here it keeps one wrong point of
//! a batch from leaving the parts of other shards done. Pure.

use shoal_vector::{Op, VectorConfig};

use super::api::RouteError;

/// Checks every point's vectors against the collection's: names, sizes and finite values. Texts as Qdrant's.
pub(super) fn op(op: &Op, vectors: &[VectorConfig]) -> Result<(), RouteError> {
    let Op::Upsert(points) = op else { return Ok(()) };
    for point in points {
        for (name, values) in &point.vectors {
            let Some(config) = vectors.iter().find(|config| &config.name == name) else {
                return Err(RouteError::Invalid(format!("Not existing vector name error: {name}")));
            };
            if values.len() != config.size {
                let (expected, got) = (config.size, values.len());
                return Err(RouteError::Invalid(format!(
                    "Vector dimension error: expected dim: {expected}, got {got}"
                )));
            }
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                let id = point.id;
                return Err(RouteError::Invalid(format!(
                    "vector of point {id}: value {at} is not a finite number"
                )));
            }
        }
        if let Some(missing) = vectors.iter().find(|config| point.vector(&config.name).is_none()) {
            let (id, name) = (point.id, &missing.name);
            return Err(RouteError::Invalid(format!("point {id} lacks the vector \"{name}\"")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use shoal_vector::{Metric, Point, PointId};

    use super::*;

    fn check(vectors: Vec<(String, Vec<f32>)>) -> Result<(), String> {
        let config = VectorConfig { name: String::new(), size: 2, distance: Metric::Dot };
        let point = Point { id: PointId::Num(5), vectors, payload: vec![] };
        op(&Op::Upsert(vec![point]), &[config]).map_err(|error| error.to_string())
    }

    fn unnamed(values: &[f32]) -> Vec<(String, Vec<f32>)> {
        vec![(String::new(), values.to_vec())]
    }

    #[test]
    fn points_of_the_collections_shape_pass_and_all_others_are_told_why_not() {
        assert_eq!(check(unnamed(&[1.0, 2.0])), Ok(()));
        let refused = |vectors| check(vectors).unwrap_err();
        assert!(
            refused(unnamed(&[1.0])).contains("Vector dimension error: expected dim: 2, got 1")
        );
        assert!(
            refused(unnamed(&[1.0, f32::NAN])).contains("point 5: value 1 is not a finite number")
        );
        assert!(refused(unnamed(&[f32::INFINITY, 0.0])).contains("value 0"));
        assert!(
            refused(vec![("image".into(), vec![1.0, 2.0])])
                .contains("Not existing vector name error: image")
        );
        assert!(refused(vec![]).contains("point 5 lacks the vector"));
    }
}
