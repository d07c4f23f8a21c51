//! A collection as clients read it. The form is the dialect's; the values are those that are true here.

use std::collections::BTreeMap;

use serde::Serialize;
use shoal_vector::payload::{IndexKind, PayloadIndex};
use shoal_vector::text::{Split, Tokenizer};
use shoal_vector::{Metric, Quantization, VectorConfig};

use super::super::models::datatype;
use super::super::models::quantization::QuantizationOut;
use crate::router::Collection;
use crate::router::api::CollectionInfo;

/// Links of a node of the graph above its lowest layer, as the builder makes them.
const LINKS: u32 = 32;

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct CollectionInfoOut {
    status: &'static str,
    optimizer_status: &'static str,
    indexed_vectors_count: u64,
    points_count: u64,
    segments_count: u64,
    config: Config,
    payload_schema: BTreeMap<String, IndexOut>,
}

#[derive(Debug, Serialize)]
struct IndexOut {
    data_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<TextOut>,
    points: u64,
}

/// How a full-text index makes tokens.
#[derive(Debug, Serialize)]
struct TextOut {
    #[serde(rename = "type")]
    kind: &'static str,
    tokenizer: &'static str,
    lowercase: bool,
    min_token_len: Option<usize>,
    max_token_len: Option<usize>,
}

impl From<Tokenizer> for TextOut {
    fn from(tokenizer: Tokenizer) -> Self {
        Self {
            kind: IndexKind::Text.name(),
            tokenizer: match tokenizer.split {
                Split::Word => "word",
                Split::Whitespace => "whitespace",
                Split::Prefix => "prefix",
            },
            lowercase: tokenizer.lowercase,
            min_token_len: tokenizer.min_len,
            max_token_len: tokenizer.max_len,
        }
    }
}

#[derive(Debug, Serialize)]
struct Config {
    params: Params,
    hnsw_config: Hnsw,
    optimizer_config: Optimizer,
    /// That of all vectors, if they have one.
    quantization_config: Option<QuantizationOut>,
}

#[derive(Debug, Serialize)]
struct Params {
    vectors: Vectors,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sparse_vectors: BTreeMap<String, SparseOut>,
    shard_number: usize,
    replication_factor: u32,
    write_consistency_factor: u32,
    on_disk_payload: bool,
}

/// Plain for the one unnamed vector, else by name.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Vectors {
    One(VectorOut),
    Named(BTreeMap<String, VectorOut>),
}

#[derive(Debug, Serialize)]
struct VectorOut {
    size: usize,
    distance: Metric,
    #[serde(skip_serializing_if = "Option::is_none")]
    datatype: Option<&'static str>,
    /// Its own, where the collection's vectors differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    quantization_config: Option<QuantizationOut>,
}

/// There is nothing to tell of one but its name.
#[derive(Debug, Serialize)]
struct SparseOut {}

#[derive(Debug, Serialize)]
struct Hnsw {
    m: u32,
    ef_construct: u32,
    full_scan_threshold: u32,
    max_indexing_threads: u32,
    on_disk: bool,
}

/// There is no optimizer to configure: zero says so where the dialect asks for a number.
#[derive(Debug, Serialize)]
struct Optimizer {
    default_segment_number: u32,
    flush_interval_sec: u32,
}

impl CollectionInfoOut {
    pub(super) fn new(collection: &Collection, info: &CollectionInfo) -> Self {
        let index = |index: &PayloadIndex| {
            let points = info.indexed_fields.get(&index.field).copied().unwrap_or_default();
            (
                index.field.clone(),
                IndexOut {
                    data_type: index.kind.name(),
                    params: index.tokenizer.map(TextOut::from),
                    points,
                },
            )
        };
        let quantization = Quantizations::of(collection);
        Self {
            // Red is the dialect's "something is wrong"; which shards, the envelope says.
            status: if info.missing.is_empty() { "green" } else { "red" },
            optimizer_status: "ok",
            indexed_vectors_count: info.indexed_points,
            points_count: info.points,
            segments_count: info.segments,
            config: Config {
                params: Params {
                    vectors: Vectors::new(&collection.vectors, &quantization),
                    sparse_vectors: collection
                        .sparse
                        .iter()
                        .map(|config| (config.name.clone(), SparseOut {}))
                        .collect(),
                    shard_number: collection.shards.len(),
                    replication_factor: 1,
                    write_consistency_factor: 1,
                    on_disk_payload: true,
                },
                hnsw_config: Hnsw {
                    m: LINKS,
                    ef_construct: collection.ef_construct,
                    full_scan_threshold: 0,
                    max_indexing_threads: 0,
                    on_disk: true,
                },
                optimizer_config: Optimizer { default_segment_number: 0, flush_interval_sec: 0 },
                quantization_config: quantization.of_all(),
            },
            payload_schema: collection.indexes.fields.iter().map(index).collect(),
        }
    }
}

/// By what the graphs of each vector are walked.
struct Quantizations {
    by_name: BTreeMap<String, Quantization>,
    all: Option<Quantization>,
}

impl Quantizations {
    fn of(collection: &Collection) -> Self {
        let of = |config: &VectorConfig| {
            let known = collection.quantization.get(&config.name);
            (config.name.clone(), known.copied().unwrap_or_default())
        };
        let by_name: BTreeMap<String, Quantization> = collection.vectors.iter().map(of).collect();
        let first = by_name.values().next().copied();
        let all = first.filter(|first| by_name.values().all(|other| other == first));
        Self { by_name, all }
    }

    fn of_all(&self) -> Option<QuantizationOut> {
        QuantizationOut::of(self.all?)
    }

    fn own(&self, name: &str) -> Option<QuantizationOut> {
        let own = self.by_name.get(name).filter(|_| self.all.is_none());
        QuantizationOut::of(*own?)
    }
}

impl Vectors {
    fn new(configs: &[VectorConfig], quantization: &Quantizations) -> Self {
        let out = |config: &VectorConfig| VectorOut {
            size: config.size,
            distance: config.distance,
            datatype: datatype::told(config.datatype),
            quantization_config: quantization.own(&config.name),
        };
        match configs {
            [one] if one.name.is_empty() => Self::One(out(one)),
            named => {
                Self::Named(named.iter().map(|config| (config.name.clone(), out(config))).collect())
            }
        }
    }
}
