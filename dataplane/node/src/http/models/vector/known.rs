//! The vectors that a collection has, and whether others fit them.

use shoal_vector::{SparseVectorConfig, VectorConfig};

use super::super::super::error::Failure;
use crate::router::Collection;

/// The vectors a collection has.
#[derive(Clone, Copy, Debug)]
pub(in super::super::super) struct Known<'a> {
    pub(in super::super::super) dense: &'a [VectorConfig],
    pub(in super::super::super) sparse: &'a [SparseVectorConfig],
}

impl<'a> From<&'a Collection> for Known<'a> {
    fn from(collection: &'a Collection) -> Self {
        Self { dense: &collection.vectors, sparse: &collection.sparse }
    }
}

/// What is said of a vector of one kind where the other should stand.
fn wrong_kind() -> Failure {
    Failure::wrong_input(shoal_shard::WRONG_KIND)
}

/// Checks that a collection has a sparse vector of this name.
pub(in super::super::super) fn check_sparse(known: Known<'_>, name: &str) -> Result<(), Failure> {
    named(known, name)?;
    match known.sparse.iter().any(|config| config.name == name) {
        true => Ok(()),
        false => Err(wrong_kind()),
    }
}

/// Checks that a collection has a vector of this name, and that a vector fits it.
pub(in super::super::super) fn check(
    known: Known<'_>,
    name: &str,
    vector: &[f32],
) -> Result<(), Failure> {
    named(known, name)?;
    let config = known.dense.iter().find(|config| config.name == name).ok_or_else(wrong_kind)?;
    match vector.len() == config.size {
        true => Ok(()),
        false => {
            let (expected, got) = (config.size, vector.len());
            Err(Failure::wrong_input(format!(
                "Vector dimension error: expected dim: {expected}, got {got}"
            )))
        }
    }
}

/// Checks that a collection has a vector of this name, of either kind.
pub(in super::super::super) fn named(known: Known<'_>, name: &str) -> Result<(), Failure> {
    let is_known = known.dense.iter().any(|config| config.name == name)
        || known.sparse.iter().any(|config| config.name == name);
    match is_known {
        true => Ok(()),
        false => Err(Failure::wrong_input(format!("Not existing vector name error: {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_sizes_and_names_are_told_as_the_dialect_does() {
        let vectors = [VectorConfig::new("", 4, shoal_vector::Metric::Dot)];
        let sparse = [SparseVectorConfig { name: "s".into() }];
        let known = Known { dense: &vectors, sparse: &sparse };
        let text = |name, vector: &[f32]| check(known, name, vector).unwrap_err().text;
        assert_eq!(check(known, "", &[0.0; 4]), Ok(()));
        assert_eq!(check_sparse(known, "s"), Ok(()));
        assert!(text("s", &[0.0; 4]).contains("Conversion between sparse and regular vectors"));
        assert!(check_sparse(known, "").unwrap_err().text.contains("Conversion between"));
        assert_eq!(
            text("", &[0.0; 3]),
            "Wrong input: Vector dimension error: expected dim: 4, got 3"
        );
        assert_eq!(text("a", &[0.0; 4]), "Wrong input: Not existing vector name error: a");
    }
}
