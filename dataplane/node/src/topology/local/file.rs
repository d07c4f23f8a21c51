//! What `collection.json` holds: everything about a collection but its points.
//!
//! Invariant: a file that parses gives a routing table that covers the ring; what a newer version wrote is refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shoal_proto::routing::{RoutingError, RoutingTable};
use shoal_vector::payload::PayloadIndex;
use shoal_vector::{Quantization, SparseVectorConfig, VectorConfig};

/// Version of the file; a build reads its own and the one before. 2: sparse vectors.
const VERSION: u32 = 2;

/// A collection as it stands on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CollectionFile {
    version: u32,
    /// Client-facing name.
    pub(super) name: String,
    /// Its vectors.
    pub(super) vectors: Vec<VectorConfig>,
    /// Its sparse vectors; version 1 had none.
    #[serde(default)]
    pub(super) sparse_vectors: Vec<SparseVectorConfig>,
    /// Candidates considered for each point while a segment is built.
    pub(super) ef_construct: u32,
    /// By what graphs of the vectors of these names are walked; those of others by default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) quantization: BTreeMap<String, Quantization>,
    /// Which payload fields are indexed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) payload_indexes: Vec<PayloadIndex>,
    #[serde(rename = "gen")]
    generation: u64,
    shards: Vec<ShardEntry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ShardEntry {
    shard: String,
    slots: String,
}

/// Why a collection's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("it is not what it should be: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("it is of version {0}, and this build reads version {VERSION}: use a newer shoal")]
    Version(u32),
    #[error("its routing table is damaged: {0}")]
    Routing(#[from] RoutingError),
}

impl CollectionFile {
    /// A new collection.
    pub(super) fn new(
        name: String,
        vectors: Vec<VectorConfig>,
        sparse_vectors: Vec<SparseVectorConfig>,
        ef_construct: u32,
        quantization: BTreeMap<String, Quantization>,
        routing: &RoutingTable,
    ) -> Self {
        let entry = |(shard, slots): &(String, _)| ShardEntry {
            shard: shard.clone(),
            slots: ToString::to_string(slots),
        };
        let shards = routing.shards().iter().map(entry).collect();
        Self {
            version: VERSION,
            name,
            vectors,
            sparse_vectors,
            ef_construct,
            quantization,
            payload_indexes: Vec::new(),
            generation: routing.generation(),
            shards,
        }
    }

    /// The same with other payload indexes.
    pub(super) fn with_indexes(self, payload_indexes: Vec<PayloadIndex>) -> Self {
        Self { payload_indexes, ..self }
    }

    /// The file's content.
    pub(super) fn encode(&self) -> Result<Vec<u8>, FileError> {
        Ok(serde_json::to_vec_pretty(self)?)
    }

    /// The collection and its routing table, from the file's content.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, RoutingTable), FileError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_slice(bytes)?;
        if version != VERSION && version + 1 != VERSION {
            return Err(FileError::Version(version));
        }
        let file: Self = serde_json::from_slice(bytes)?;
        let shards = file.shards.iter().map(|entry| (entry.shard.clone(), entry.slots.as_str()));
        let routing = RoutingTable::parse(file.generation, shards)?;
        Ok((file, routing))
    }
}

#[cfg(test)]
mod tests {
    use shoal_vector::Metric;
    use shoal_vector::payload::IndexKind;

    use super::*;

    fn file() -> (CollectionFile, RoutingTable) {
        let routing =
            RoutingTable::initial(["a-0".to_owned(), "a-1".to_owned()].into_iter()).unwrap();
        let vectors = vec![VectorConfig::new("", 4, Metric::Dot)];
        let (name, sparse) =
            ("any / name \u{1F41F}".to_owned(), SparseVectorConfig { name: "s".into() });
        (
            CollectionFile::new(
                name,
                vectors,
                vec![sparse],
                100,
                BTreeMap::from([(String::new(), Quantization::Int8)]),
                &routing,
            ),
            routing,
        )
    }

    #[test]
    fn a_file_comes_back_as_it_was_written() {
        let (mut written, routing) = file();
        let text = String::from_utf8(written.encode().unwrap()).unwrap();
        assert!(!text.contains("payloadIndexes"), "a file without is one that was written before");
        assert_eq!(
            CollectionFile::decode(text.as_bytes()).unwrap(),
            (written.clone(), routing.clone())
        );
        let index = PayloadIndex::new("a.b", IndexKind::Geo).unwrap();
        written = written.with_indexes(vec![index]);
        assert_eq!(CollectionFile::decode(&written.encode().unwrap()).unwrap(), (written, routing));
    }

    #[test]
    fn a_file_of_version_1_is_one_without_sparse_vectors() {
        let before = r#"{"version": 1, "name": "a", "vectors": [{"name": "", "size": 4, "distance": "Dot"}],
            "efConstruct": 100, "gen": 1, "shards": [{"shard": "a-0", "slots": "0-16383"}]}"#;
        let (file, routing) = CollectionFile::decode(before.as_bytes()).unwrap();
        assert_eq!((file.name.as_str(), file.vectors.len(), routing.shards().len()), ("a", 1, 1));
        assert_eq!(file.sparse_vectors, []);
        assert!(file.quantization.is_empty());
    }

    #[test]
    fn newer_and_damaged_files_are_refused() {
        let text = String::from_utf8(file().0.encode().unwrap()).unwrap();
        let newer = text.replace("\"version\": 2", "\"version\": 3, \"unknown\": {}");
        assert!(matches!(CollectionFile::decode(newer.as_bytes()), Err(FileError::Version(3))));
        let gap = text.replace("0-511,", "");
        assert!(matches!(
            CollectionFile::decode(gap.as_bytes()),
            Err(FileError::Routing(RoutingError::Gap(0)))
        ));
        let half = &text[..text.len() / 2];
        assert!(matches!(CollectionFile::decode(half.as_bytes()), Err(FileError::Malformed(_))));
    }
}
