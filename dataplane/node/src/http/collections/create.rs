//! The body of `PUT /collections/{collection_name}`.
//!
//! Hints about where things are kept and how an optimizer should run are accepted and have no effect: they do not change
//! what a collection answers. Everything that would is either done or refused by its name.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use shoal_shard::limits::MAX_VECTORS;
use shoal_vector::{MAX_DIMENSIONS, Metric, Quantization, SparseVectorConfig, VectorConfig};

use super::super::error::Failure;
use super::super::models::quantization::QuantizationConfig;
use super::super::models::{NotYet, datatype, refuse};
use crate::router::api::CreateCollection;

/// Most shards a collection may ask for; a slot ring of 16,384 has room for more, a namespace rarely has.
const MAX_SHARDS: u32 = 64;
/// Greatest `ef_construct`: beyond it a build only gets slower.
const MAX_EF_CONSTRUCT: u32 = 10_000;
/// Longest name of a vector, in characters, as in a VectorCollection.
const MAX_VECTOR_NAME: usize = 64;
/// Least `ef_construct`, as in Qdrant.
const MIN_EF_CONSTRUCT: u32 = 4;

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateBody {
    vectors: Option<Value>,
    shard_number: Option<u32>,
    sharding_method: Option<String>,
    replication_factor: Option<u32>,
    write_consistency_factor: Option<u32>,
    hnsw_config: Option<HnswConfig>,
    quantization_config: Option<QuantizationConfig>,
    sparse_vectors: Option<BTreeMap<String, Option<SparseParams>>>,
    strict_mode_config: Option<StrictMode>,
    metadata: Option<Map<String, Value>>,
    #[serde(rename = "on_disk_payload")]
    _on_disk_payload: Option<bool>,
    #[serde(rename = "wal_config")]
    _wal_config: Option<IgnoredAny>,
    #[serde(rename = "optimizers_config")]
    _optimizers_config: Option<IgnoredAny>,
}

/// One vector.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VectorParams {
    size: u64,
    distance: Metric,
    hnsw_config: Option<HnswConfig>,
    quantization_config: Option<QuantizationConfig>,
    datatype: Option<String>,
    multivector_config: NotYet,
    #[serde(rename = "on_disk")]
    _on_disk: Option<bool>,
}

/// One sparse vector.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SparseParams {
    index: Option<SparseIndex>,
    modifier: Option<String>,
}

/// The inverted index. All but the data type are hints: a search by sparse vectors is always exact.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SparseIndex {
    datatype: Option<String>,
    #[serde(rename = "full_scan_threshold")]
    _full_scan_threshold: Option<u64>,
    #[serde(rename = "on_disk")]
    _on_disk: Option<bool>,
}

/// The graph. All but `ef_construct` are hints: the number of links is fixed, and a graph is always built.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HnswConfig {
    ef_construct: Option<u32>,
    #[serde(rename = "m")]
    _m: Option<u32>,
    #[serde(rename = "full_scan_threshold")]
    _full_scan_threshold: Option<u64>,
    #[serde(rename = "max_indexing_threads")]
    _max_indexing_threads: Option<u64>,
    #[serde(rename = "on_disk")]
    _on_disk: Option<bool>,
    #[serde(rename = "payload_m")]
    _payload_m: Option<u32>,
    #[serde(rename = "inline_storage")]
    _inline_storage: Option<bool>,
}

/// Strict mode, of which only "off" is there.
#[derive(Debug, Deserialize)]
struct StrictMode {
    enabled: Option<bool>,
}

impl CreateBody {
    /// What is asked of the router.
    pub(super) fn into_request(
        self,
        name: String,
        timeout: Duration,
    ) -> Result<CreateCollection, Failure> {
        self.refuse_what_is_not_there()?;
        let place = "quantization_config";
        let default = self.quantization_config.as_ref().map(|config| config.kind(place));
        let (vectors, own) = vectors(self.vectors, default.transpose()?.unwrap_or_default())?;
        let Own { ef_construct: own, quantization } = own;
        let shards = between("shard_number", self.shard_number, 1, MAX_SHARDS)?;
        let ef_construct = own.or(self.hnsw_config.unwrap_or_default().ef_construct);
        let ef_construct =
            between("hnsw_config.ef_construct", ef_construct, MIN_EF_CONSTRUCT, MAX_EF_CONSTRUCT)?;
        let sparse = sparse_vectors(self.sparse_vectors, &vectors)?;
        Ok(CreateCollection { name, vectors, sparse, ef_construct, quantization, shards, timeout })
    }

    fn refuse_what_is_not_there(&self) -> Result<(), Failure> {
        if self.metadata.as_ref().is_some_and(|map| !map.is_empty()) {
            return Err(Failure::unsupported("`metadata` of a collection"));
        }
        if self.strict_mode_config.as_ref().is_some_and(|strict| strict.enabled == Some(true)) {
            return Err(Failure::unsupported("`strict_mode_config`"));
        }
        match self.sharding_method.as_deref() {
            None | Some("auto") => {}
            Some("custom") => return Err(Failure::unsupported("`sharding_method` custom")),
            Some(_) => return Err(Failure::field("sharding_method", "expected `auto`")),
        }
        let copies = [
            ("replication_factor", self.replication_factor),
            ("write_consistency_factor", self.write_consistency_factor),
        ];
        for (field, value) in copies {
            match value {
                None | Some(1) => {}
                Some(0) => {
                    return Err(Failure::field(field, "value 0 invalid, must be 1 or larger"));
                }
                Some(_) => return Err(Failure::unsupported(format!("`{field}` above 1"))),
            }
        }
        Ok(())
    }
}

/// What vectors say of their graphs.
struct Own {
    /// That of all, if they have one.
    ef_construct: Option<u32>,
    quantization: BTreeMap<String, Quantization>,
}

/// The collection's vectors, given by name or as the one without a name. Those that say nothing about quantization have that
/// of the collection.
fn vectors(
    vectors: Option<Value>,
    default: Quantization,
) -> Result<(Vec<VectorConfig>, Own), Failure> {
    let Some(Value::Object(object)) = vectors else {
        return Err(match vectors {
            None => Failure::unsupported("a collection without `vectors`"),
            Some(_) => Failure::format("vectors: expected {\"size\": number, \"distance\": text}"),
        });
    };
    // By name, each value is an object; plainly, `size` is a number.
    let by_name = object.values().all(Value::is_object);
    let named: Vec<(String, Value)> = match by_name {
        true => object.into_iter().collect(),
        false => vec![(String::new(), Value::Object(object))],
    };
    if named.is_empty() {
        return Err(Failure::unsupported("a collection without `vectors`"));
    }
    if named.len() > MAX_VECTORS {
        let why = format!("{} vectors, must be {MAX_VECTORS} or fewer", named.len());
        return Err(Failure::field("vectors", why));
    }
    let (mut configs, mut graphs) = (Vec::new(), Vec::new());
    let mut quantization = BTreeMap::new();
    for (name, params) in named {
        check_vector_name(&name)?;
        let place = if by_name { format!("vectors.{name}") } else { "vectors".to_owned() };
        let params: VectorParams = serde_json::from_value(params)
            .map_err(|error| Failure::format(format!("{place}: {error}")))?;
        let place_of = format!("{place}.quantization_config");
        let own = params.quantization_config.as_ref().map(|config| config.kind(&place_of));
        quantization.insert(name.clone(), own.transpose()?.unwrap_or(default));
        let (config, graph) = params.into_config(name, &place)?;
        configs.push(config);
        graphs.push(graph.ef_construct);
    }
    match graphs.iter().all(|own| *own == graphs[0]) {
        true => Ok((configs, Own { ef_construct: graphs[0], quantization })),
        false => Err(Failure::unsupported(
            "`hnsw_config.ef_construct` that differs between vectors (an applied VectorCollection may have it)",
        )),
    }
}

/// The collection's sparse vectors.
fn sparse_vectors(
    given: Option<BTreeMap<String, Option<SparseParams>>>,
    vectors: &[VectorConfig],
) -> Result<Vec<SparseVectorConfig>, Failure> {
    let given = given.unwrap_or_default();
    if given.len() > MAX_VECTORS {
        let why = format!("{} vectors, must be {MAX_VECTORS} or fewer", given.len());
        return Err(Failure::field("sparse_vectors", why));
    }
    let one = |(name, params): (String, Option<SparseParams>)| {
        check_vector_name(&name)?;
        if name.is_empty() || vectors.iter().any(|vector| vector.name == name) {
            let why = format!("the name `{name}` is empty, or that of a vector in `vectors`");
            return Err(Failure::field("sparse_vectors", why));
        }
        let params = params.unwrap_or_default();
        match params.modifier.as_deref() {
            None | Some("none") => {}
            Some("idf") => {
                return Err(Failure::unsupported(format!("`sparse_vectors.{name}.modifier` idf")));
            }
            Some(_) => {
                let field = format!("sparse_vectors.{name}.modifier");
                return Err(Failure::field(&field, "expected `none`"));
            }
        }
        match params.index.unwrap_or_default().datatype.as_deref() {
            None | Some("float32") => Ok(SparseVectorConfig { name }),
            Some(other) => {
                Err(Failure::unsupported(format!("`sparse_vectors.{name}.index.datatype` {other}")))
            }
        }
    };
    given.into_iter().map(one).collect()
}

/// A name that the cluster's objects may have too.
fn check_vector_name(name: &str) -> Result<(), Failure> {
    match name.chars().count() > MAX_VECTOR_NAME {
        true => Err(Failure::field(
            "vectors",
            format!("the name `{name}` is longer than {MAX_VECTOR_NAME} characters"),
        )),
        false => Ok(()),
    }
}

impl VectorParams {
    fn into_config(self, name: String, place: &str) -> Result<(VectorConfig, HnswConfig), Failure> {
        refuse(&[(&format!("{place}.multivector_config"), &self.multivector_config)])?;
        let datatype = datatype::read(self.datatype.as_deref(), &format!("{place}.datatype"))?;
        let size =
            usize::try_from(self.size).ok().filter(|size| (1..=MAX_DIMENSIONS).contains(size));
        let Some(size) = size else {
            let why = format!("value {} invalid, must be from 1 to {MAX_DIMENSIONS}", self.size);
            return Err(Failure::field(&format!("{place}.size"), why));
        };
        let config = VectorConfig { datatype, ..VectorConfig::new(name, size, self.distance) };
        Ok((config, self.hnsw_config.unwrap_or_default()))
    }
}

fn between(field: &str, value: Option<u32>, least: u32, most: u32) -> Result<Option<u32>, Failure> {
    match value {
        Some(n) if !(least..=most).contains(&n) => {
            Err(Failure::field(field, format!("value {n} invalid, must be from {least} to {most}")))
        }
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use shoal_vector::Datatype;

    use super::*;

    fn read(json: &str) -> Result<CreateCollection, Failure> {
        let body: CreateBody = serde_json::from_str(json).map_err(Failure::format)?;
        body.into_request("c".to_owned(), Duration::from_secs(1))
    }

    #[test]
    fn the_plain_form_and_the_unnamed_form_say_the_same() {
        let plain = read(r#"{"vectors": {"size": 4, "distance": "Dot"}}"#).unwrap();
        let config = VectorConfig::new("", 4, Metric::Dot);
        assert_eq!(plain.vectors, [config]);
        assert_eq!((plain.shards, plain.ef_construct), (None, None));
        assert_eq!(read(r#"{"vectors": {"": {"size": 4, "distance": "Dot"}}}"#).unwrap(), plain);
    }

    #[test]
    fn vectors_by_name_have_sizes_and_distances_of_their_own() {
        let json = r#"{"vectors": {"text": {"size": 4, "distance": "Dot"}, "": {"size": 2, "distance": "Euclid"}}}"#;
        let mut vectors = read(json).unwrap().vectors;
        vectors.sort_by(|a, b| a.name.cmp(&b.name));
        let config = |name: &str, size, distance| VectorConfig::new(name, size, distance);
        assert_eq!(vectors, [config("", 2, Metric::Euclid), config("text", 4, Metric::Dot)]);
        let many = |count: usize| {
            let one = |n| format!(r#""v{n}": {{"size": 1, "distance": "Dot"}}"#);
            let all: Vec<String> = (0..count).map(one).collect();
            read(&format!(r#"{{"vectors": {{{}}}}}"#, all.join(", ")))
        };
        assert_eq!(many(MAX_VECTORS).unwrap().vectors.len(), MAX_VECTORS);
        assert_eq!(many(MAX_VECTORS + 1).unwrap_err().status.as_u16(), 422);
        let long = "x".repeat(MAX_VECTOR_NAME + 1);
        let json = format!(r#"{{"vectors": {{"{long}": {{"size": 1, "distance": "Dot"}}}}}}"#);
        assert!(read(&json).unwrap_err().text.contains("longer than"));
    }

    #[test]
    fn each_vector_has_a_datatype_of_its_own() {
        let json = r#"{"vectors": {"a": {"size": 4, "distance": "Dot", "datatype": "float16"},
            "b": {"size": 4, "distance": "Dot", "datatype": "float32"}, "c": {"size": 4, "distance": "Dot"}}}"#;
        let read = read(json).unwrap().vectors;
        let datatypes: Vec<_> = read.iter().map(|v| (v.name.as_str(), v.datatype)).collect();
        let [half, float] = [Datatype::Float16, Datatype::Float32];
        assert_eq!(datatypes, [("a", half), ("b", float), ("c", float)]);
    }

    #[test]
    fn a_vector_s_own_quantization_goes_before_that_of_the_collection() {
        let json = r#"{"vectors": {"a": {"size": 4, "distance": "Dot", "quantization_config": "Disabled"},
            "b": {"size": 4, "distance": "Dot"}}, "quantization_config": {"scalar": {"type": "int8"}}}"#;
        let expected = [("a", Quantization::None), ("b", Quantization::Int8)];
        let expected = expected.map(|(name, kind)| (name.to_owned(), kind));
        assert_eq!(read(json).unwrap().quantization, expected.into());
        let plain = read(r#"{"vectors": {"size": 4, "distance": "Dot"}}"#).unwrap();
        assert_eq!(plain.quantization, [(String::new(), Quantization::Bits4)].into());
    }

    #[test]
    fn sparse_vectors_need_a_name_only() {
        let json = r#"{"vectors": {"a": {"size": 4, "distance": "Dot"}},
            "sparse_vectors": {"s": {"index": {"on_disk": true}, "modifier": "none"}, "t": null}}"#;
        let names: Vec<String> = read(json).unwrap().sparse.into_iter().map(|s| s.name).collect();
        assert_eq!(names, ["s", "t"]);
        let twice =
            r#"{"vectors": {"a": {"size": 4, "distance": "Dot"}}, "sparse_vectors": {"a": {}}}"#;
        assert!(read(twice).unwrap_err().text.contains("`a`"));
    }

    #[test]
    fn what_is_there_is_passed_on_and_hints_are_accepted() {
        let request = read(
            r#"{"vectors": {"size": 4, "distance": "Cosine", "on_disk": true, "datatype": "float32",
                "hnsw_config": {"m": 64}}, "shard_number": 3, "sharding_method": "auto", "replication_factor": 1,
                "write_consistency_factor": 1, "on_disk_payload": true, "quantization_config": null,
                "sparse_vectors": {}, "strict_mode_config": {"enabled": false}, "metadata": {},
                "hnsw_config": {"ef_construct": 200, "m": 16, "on_disk": true, "payload_m": 8},
                "wal_config": {"wal_capacity_mb": 1}, "optimizers_config": {"indexing_threshold": 0}}"#,
        );
        let request = request.unwrap();
        assert_eq!((request.shards, request.ef_construct), (Some(3), Some(200)));
        let own = read(
            r#"{"vectors": {"size": 4, "distance": "Dot", "hnsw_config": {"ef_construct": 50}}, "hnsw_config": {"ef_construct": 60}}"#,
        );
        assert_eq!(own.unwrap().ef_construct, Some(50), "the vector's own setting wins");
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let cases = [
            ("{}", 501, "without `vectors`"),
            (r#"{"vectors": {}}"#, 501, "without `vectors`"),
            (r#"{"vectors": 4}"#, 400, "size"),
            (r#"{"vectors": {"size": 4}}"#, 400, "distance"),
            (r#"{"vectors": {"distance": "Dot"}}"#, 400, "size"),
            (r#"{"vectors": {"size": "4", "distance": "Dot"}}"#, 400, "vectors"),
            (r#"{"vectors": {"size": 4, "distance": "Hamming"}}"#, 400, "Hamming"),
            (r#"{"vectors": {"size": 0, "distance": "Dot"}}"#, 422, "vectors.size"),
            (r#"{"vectors": {"size": 65537, "distance": "Dot"}}"#, 422, "vectors.size"),
            (r#"{"vectors": {"size": 4, "distance": "Dot", "sise": 4}}"#, 400, "sise"),
            (r#"{"vectors": {"a": {"size": 0, "distance": "Dot"}}}"#, 422, "vectors.a.size"),
            (r#"{"vectors": {"a": {"size": 4}}}"#, 400, "vectors.a"),
            (
                r#"{"vectors": {"a": {"size": 4, "distance": "Dot", "hnsw_config": {"ef_construct": 9}},
                    "b": {"size": 4, "distance": "Dot"}}}"#,
                501,
                "differs between vectors",
            ),
            (
                r#"{"vectors": {"size": 4, "distance": "Dot", "datatype": "uint8"}}"#,
                501,
                "`vectors.datatype` uint8 (use `float16`",
            ),
            (
                r#"{"vectors": {"size": 4, "distance": "Dot", "datatype": "float64"}}"#,
                422,
                "expected `float32` or `float16`",
            ),
            (
                r#"{"vectors": {"size": 4, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}}"#,
                501,
                "multivector",
            ),
            (
                r#"{"vectors": {"a": {"size": 4, "distance": "Dot", "quantization_config": {"binary": {}}}}}"#,
                501,
                "`vectors.a.quantization_config` binary",
            ),
        ];
        let with =
            |more: &str| format!(r#"{{"vectors": {{"size": 4, "distance": "Dot"}}, {more}}}"#);
        let more = [
            (
                with(r#""quantization_config": {"product": {"compression": "x8"}}"#),
                501,
                "`quantization_config` product",
            ),
            (with(r#""sparse_vectors": {"s": {"modifier": "idf"}}"#), 501, "idf"),
            (with(r#""sparse_vectors": {"s": {"modifier": "x"}}"#), 422, "modifier"),
            (with(r#""sparse_vectors": {"s": {"index": {"datatype": "uint8"}}}"#), 501, "uint8"),
            (with(r#""sparse_vectors": {"s": {"size": 4}}"#), 400, "size"),
            (with(r#""sparse_vectors": {"": {}}"#), 422, "empty"),
            (with(r#""metadata": {"a": 1}"#), 501, "metadata"),
            (with(r#""strict_mode_config": {"enabled": true}"#), 501, "strict_mode_config"),
            (with(r#""sharding_method": "custom""#), 501, "sharding_method"),
            (with(r#""replication_factor": 2"#), 501, "replication_factor"),
            (with(r#""replication_factor": 0"#), 422, "replication_factor"),
            (with(r#""write_consistency_factor": 2"#), 501, "write_consistency_factor"),
            (with(r#""shard_number": 0"#), 422, "shard_number"),
            (with(r#""shard_number": 65"#), 422, "shard_number"),
            (with(r#""hnsw_config": {"ef_construct": 3}"#), 422, "ef_construct"),
            (with(r#""init_from": {"collection": "x"}"#), 400, "init_from"),
        ];
        let cases = cases
            .into_iter()
            .map(|(json, status, text)| (json.to_owned(), status, text))
            .chain(more);
        for (json, status, text) in cases {
            let failure = read(&json).unwrap_err();
            assert_eq!(failure.status.as_u16(), status, "{json}: {}", failure.text);
            assert!(failure.text.contains(text), "{json}: {}", failure.text);
        }
    }
}
