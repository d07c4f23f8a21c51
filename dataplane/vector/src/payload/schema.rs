//! Which payload fields are indexed, and as what.
//!
//! An index never changes an answer, with one exception that the dialect makes: how a text is cut into tokens. It is
//! configuration that may change while points are served. Invariant: a [`PayloadIndex`] that was made by
//! [`PayloadIndex::new`] has a key path of bounded length.

use serde::{Deserialize, Serialize};

use super::{InvalidPath, KeyPath};
use crate::text::Tokenizer;

/// Fields of a collection that may be indexed. Each costs some megabytes for a million points, and each write some
/// microseconds; Qdrant's strict mode has 100 for its default.
pub const MAX_PAYLOAD_INDEXES: usize = 100;

/// Bytes of an indexed field's key path.
pub const MAX_INDEXED_FIELD_BYTES: usize = 1_024;

/// What the values of a field are taken for. Variants are only ever added at the end: their position is their number on
/// disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IndexKind {
    /// Strings, compared whole.
    Keyword,
    /// Integers, by value and by range.
    Integer,
    /// Numbers, by range.
    Float,
    /// Booleans.
    Bool,
    /// Dates and times, by range.
    Datetime,
    /// UUIDs, compared as they are written.
    Uuid,
    /// Places on the earth.
    Geo,
    /// Texts, by their words.
    Text,
}

impl IndexKind {
    /// All kinds.
    pub const ALL: [IndexKind; 8] = [
        IndexKind::Keyword,
        IndexKind::Integer,
        IndexKind::Float,
        IndexKind::Bool,
        IndexKind::Datetime,
        IndexKind::Uuid,
        IndexKind::Geo,
        IndexKind::Text,
    ];

    /// The dialect's name of it.
    pub fn name(self) -> &'static str {
        match self {
            IndexKind::Keyword => "keyword",
            IndexKind::Integer => "integer",
            IndexKind::Float => "float",
            IndexKind::Bool => "bool",
            IndexKind::Datetime => "datetime",
            IndexKind::Uuid => "uuid",
            IndexKind::Geo => "geo",
            IndexKind::Text => "text",
        }
    }

    /// The kind of a name of the dialect.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// An indexed field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadIndex {
    /// Key path, in its canonical form.
    pub field: String,
    /// What its values are taken for.
    pub kind: IndexKind,
    /// How texts become tokens; there for [`IndexKind::Text`] alone.
    #[serde(default)]
    pub tokenizer: Option<Tokenizer>,
}

/// Why a field cannot be indexed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIndex {
    /// The field is no key path.
    #[error("field_name: {0}")]
    Path(#[from] InvalidPath),
    /// The field's key path is too long.
    #[error("field_name: longer than {MAX_INDEXED_FIELD_BYTES} bytes")]
    TooLong,
}

impl PayloadIndex {
    /// An index over a field.
    pub fn new(field: &str, kind: IndexKind) -> Result<Self, InvalidIndex> {
        if field.len() > MAX_INDEXED_FIELD_BYTES {
            return Err(InvalidIndex::TooLong);
        }
        let tokenizer = (kind == IndexKind::Text).then(Tokenizer::default);
        Ok(Self { field: field.parse::<KeyPath>()?.to_string(), kind, tokenizer })
    }

    /// A full-text index over a field.
    pub fn text(field: &str, tokenizer: Tokenizer) -> Result<Self, InvalidIndex> {
        let index = Self::new(field, IndexKind::Text)?;
        Ok(Self { tokenizer: Some(tokenizer), ..index })
    }

    /// The field's key path. Fails where the field did not come from [`PayloadIndex::new`].
    pub fn path(&self) -> Result<KeyPath, InvalidPath> {
        self.field.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_names_of_the_dialect() {
        for kind in IndexKind::ALL {
            assert_eq!(IndexKind::named(kind.name()), Some(kind));
        }
        assert_eq!(IndexKind::named("Keyword"), None);
    }

    #[test]
    fn one_field_has_one_name() {
        let index = PayloadIndex::new("\"a\".b[]", IndexKind::Float).unwrap();
        assert_eq!(index.field, "a.b[]");
        let long = "a".repeat(MAX_INDEXED_FIELD_BYTES + 1);
        assert_eq!(PayloadIndex::new(&long, IndexKind::Float), Err(InvalidIndex::TooLong));
        assert!(matches!(PayloadIndex::new("a..b", IndexKind::Bool), Err(InvalidIndex::Path(_))));
    }
}
