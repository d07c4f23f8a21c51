//! What the spec of a VectorCollection says, in the router's words, and the other way round. Pure.

use std::collections::BTreeMap;

use shoal_crds::collection::{
    Datatype as DatatypeSpec, Distance, IndexType, PayloadIndexSpec,
    Quantization as QuantizationSpec, TextIndex, TextTokenizer, VectorSpec,
};
use shoal_crds::reads::PartialAnswers;
use shoal_crds::{VectorCollection, duration};
use shoal_shard::WantedIndexes;
use shoal_vector::payload::{IndexKind, InvalidIndex, PayloadIndex};
use shoal_vector::text::{Split, Tokenizer};
use shoal_vector::{Datatype, Metric, Quantization, SparseVectorConfig, VectorConfig};

use crate::router::api::{Partial, ReadPolicy};

/// Its vectors.
pub(super) fn vectors(object: &VectorCollection) -> Vec<VectorConfig> {
    let config = |vector: &VectorSpec| VectorConfig {
        name: vector.name.clone(),
        size: vector.size as usize,
        distance: match vector.distance {
            Distance::Cosine => Metric::Cosine,
            Distance::Dot => Metric::Dot,
            Distance::Euclid => Metric::Euclid,
            Distance::Manhattan => Metric::Manhattan,
        },
        datatype: match vector.datatype() {
            DatatypeSpec::Float32 => Datatype::Float32,
            DatatypeSpec::Float16 => Datatype::Float16,
        },
    };
    object.spec.vectors.iter().map(config).collect()
}

/// Its sparse vectors.
pub(super) fn sparse(object: &VectorCollection) -> Vec<SparseVectorConfig> {
    let config = |vector: &shoal_crds::collection::SparseVectorSpec| SparseVectorConfig {
        name: vector.name.clone(),
    };
    object.spec.sparse_vectors.iter().flatten().map(config).collect()
}

/// The other way round, for an object to be made.
pub(super) fn distance(metric: Metric) -> Distance {
    match metric {
        Metric::Cosine => Distance::Cosine,
        Metric::Dot => Distance::Dot,
        Metric::Euclid => Distance::Euclid,
        Metric::Manhattan => Distance::Manhattan,
    }
}

/// What an object says for it; nothing for the default.
pub(super) fn spec_of_datatype(datatype: Datatype) -> Option<DatatypeSpec> {
    match datatype {
        Datatype::Float32 => None,
        Datatype::Float16 => Some(DatatypeSpec::Float16),
    }
}

/// What an object's shards are to index. The object's generation orders what it says.
pub(super) fn indexes(object: &VectorCollection) -> WantedIndexes {
    let field = |spec: &PayloadIndexSpec| match index_of(spec) {
        Ok(index) => Some(index),
        Err(error) => {
            tracing::warn!(collection = object.client_name(), %error, "a payload index that cannot be");
            None
        }
    };
    WantedIndexes {
        owner: object.metadata.uid.clone().unwrap_or_default(),
        version: object.metadata.generation.and_then(|g| u64::try_from(g).ok()).unwrap_or_default(),
        fields: object.spec.payload_indexes.iter().filter_map(field).collect(),
    }
}

fn index_of(spec: &PayloadIndexSpec) -> Result<PayloadIndex, InvalidIndex> {
    let kind = match spec.kind {
        IndexType::Keyword => IndexKind::Keyword,
        IndexType::Integer => IndexKind::Integer,
        IndexType::Float => IndexKind::Float,
        IndexType::Bool => IndexKind::Bool,
        IndexType::Datetime => IndexKind::Datetime,
        IndexType::Uuid => IndexKind::Uuid,
        IndexType::Geo => IndexKind::Geo,
        IndexType::Text => {
            let text = spec.text.clone().unwrap_or_default();
            let tokenizer = Tokenizer {
                split: match text.tokenizer.unwrap_or_default() {
                    TextTokenizer::Word => Split::Word,
                    TextTokenizer::Whitespace => Split::Whitespace,
                    TextTokenizer::Prefix => Split::Prefix,
                },
                lowercase: text.lowercase.unwrap_or(true),
                min_len: text.min_token_len.map(|len| len as usize),
                max_len: text.max_token_len.map(|len| len as usize),
            };
            return PayloadIndex::text(&spec.field, tokenizer);
        }
    };
    PayloadIndex::new(&spec.field, kind)
}

/// Candidates considered for each point while a segment is built.
pub(super) fn ef_construct(object: &VectorCollection) -> u32 {
    let first = object.spec.vectors.first();
    first.map_or(shoal_crds::defaults::EF_CONSTRUCT, |vector| vector.ef_construct())
}

/// How it is read where a request does not say.
pub(super) fn reads(object: &VectorCollection) -> ReadPolicy {
    let partial = match object.partial_answers() {
        PartialAnswers::Allow => Partial::Allow,
        PartialAnswers::Refuse => Partial::Refuse,
    };
    let default = ReadPolicy::default();
    // The operator says where a time cannot be.
    let max_staleness = duration::parse(object.max_staleness()).unwrap_or(default.max_staleness);
    ReadPolicy { partial, max_staleness }
}

/// By what graphs of each vector are walked.
pub(super) fn quantization(object: &VectorCollection) -> BTreeMap<String, Quantization> {
    let of = |vector: &VectorSpec| (vector.name.clone(), quantization_of(vector.quantization()));
    object.spec.vectors.iter().map(of).collect()
}

fn quantization_of(spec: QuantizationSpec) -> Quantization {
    match spec {
        QuantizationSpec::Bits4 => Quantization::Bits4,
        QuantizationSpec::Int8 => Quantization::Int8,
        QuantizationSpec::None => Quantization::None,
    }
}

/// What an object says for it; nothing for the default.
pub(super) fn spec_of_quantization(quantization: Quantization) -> Option<QuantizationSpec> {
    match quantization {
        Quantization::Bits4 => None,
        Quantization::Int8 => Some(QuantizationSpec::Int8),
        Quantization::None => Some(QuantizationSpec::None),
    }
}

/// What an object says for an index.
pub(super) fn spec_of(index: &PayloadIndex) -> PayloadIndexSpec {
    let kind = match index.kind {
        IndexKind::Keyword => IndexType::Keyword,
        IndexKind::Integer => IndexType::Integer,
        IndexKind::Float => IndexType::Float,
        IndexKind::Bool => IndexType::Bool,
        IndexKind::Datetime => IndexType::Datetime,
        IndexKind::Uuid => IndexType::Uuid,
        IndexKind::Geo => IndexType::Geo,
        IndexKind::Text => IndexType::Text,
    };
    let len = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    let text = index.tokenizer.map(|tokenizer| TextIndex {
        tokenizer: Some(match tokenizer.split {
            Split::Word => TextTokenizer::Word,
            Split::Whitespace => TextTokenizer::Whitespace,
            Split::Prefix => TextTokenizer::Prefix,
        }),
        lowercase: Some(tokenizer.lowercase),
        min_token_len: tokenizer.min_len.map(len),
        max_token_len: tokenizer.max_len.map(len),
    });
    PayloadIndexSpec { field: index.field.clone(), kind, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_that_knows_no_collection_allows_the_staleness_that_is_the_default_of_all() {
        let default = duration::parse(shoal_crds::defaults::MAX_STALENESS);
        assert_eq!(default, Some(ReadPolicy::default().max_staleness));
    }
}
