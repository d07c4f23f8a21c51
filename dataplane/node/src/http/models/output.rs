//! Points as clients read them.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use shoal_shard::api::{FoundPoint, Record};
use shoal_vector::{Payload, PointId, SparseVector};

/// A point that was read.
#[derive(Debug, Serialize)]
pub(in super::super) struct RecordOut {
    id: PointId,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<VectorsOut>,
}

/// A point that was found.
#[derive(Debug, Serialize)]
pub(in super::super) struct ScoredOut {
    id: PointId,
    version: u64,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<VectorsOut>,
}

/// A point's vectors: a bare list if the default vector is all it has, else each by its name.
#[derive(Debug)]
struct VectorsOut {
    dense: Vec<(String, Vec<f32>)>,
    sparse: Vec<(String, SparseVector)>,
}

impl VectorsOut {
    fn of(
        dense: Option<Vec<(String, Vec<f32>)>>,
        sparse: Vec<(String, SparseVector)>,
    ) -> Option<Self> {
        dense.map(|dense| Self { dense, sparse })
    }
}

impl Serialize for VectorsOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let ([(name, vector)], []) = (self.dense.as_slice(), self.sparse.as_slice())
            && name.is_empty()
        {
            return vector.serialize(serializer);
        }
        let mut map = serializer.serialize_map(Some(self.dense.len() + self.sparse.len()))?;
        for (name, vector) in &self.dense {
            map.serialize_entry(name, vector)?;
        }
        for (name, vector) in &self.sparse {
            map.serialize_entry(name, vector)?;
        }
        map.end()
    }
}

impl From<Record> for RecordOut {
    fn from(record: Record) -> Self {
        Self {
            id: record.id,
            payload: record.parts.payload,
            vector: VectorsOut::of(record.parts.vectors, record.parts.sparse),
        }
    }
}

impl From<FoundPoint> for ScoredOut {
    fn from(found: FoundPoint) -> Self {
        let (hit, parts) = (found.hit, found.parts);
        Self {
            id: hit.id,
            version: hit.seq,
            score: hit.score,
            payload: parts.payload,
            vector: VectorsOut::of(parts.vectors, parts.sparse),
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_shard::api::Parts;
    use shoal_vector::Hit;

    use super::*;

    #[test]
    fn points_read_as_in_the_dialect() {
        let vectors =
            |names: &[&str]| Some(names.iter().map(|n| ((*n).to_owned(), vec![0.5])).collect());
        let record = |parts| {
            serde_json::to_string(&RecordOut::from(Record { id: PointId::Num(1), parts })).unwrap()
        };
        assert_eq!(record(Parts::default()), r#"{"id":1}"#);
        let parts =
            Parts { payload: Some(Payload::new()), vectors: vectors(&[""]), sparse: vec![] };
        assert_eq!(record(parts), r#"{"id":1,"payload":{},"vector":[0.5]}"#);
        assert_eq!(
            record(Parts { payload: None, vectors: vectors(&["a"]), sparse: vec![] }),
            r#"{"id":1,"vector":{"a":[0.5]}}"#
        );
        let sparse = vec![("s".to_owned(), SparseVector::new(vec![7], vec![0.5]).unwrap())];
        assert_eq!(
            record(Parts { payload: None, vectors: vectors(&[""]), sparse }),
            r#"{"id":1,"vector":{"":[0.5],"s":{"indices":[7],"values":[0.5]}}}"#
        );
        let hit = Hit { id: PointId::Num(1), score: 1.362, seq: 3 };
        let found = ScoredOut::from(FoundPoint { hit, parts: Parts::default() });
        assert_eq!(serde_json::to_string(&found).unwrap(), r#"{"id":1,"version":3,"score":1.362}"#);
    }
}
