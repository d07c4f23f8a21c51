//! What clients write, and what they must read: the ops by number, and what each point is after each of them.

use std::collections::BTreeMap;

use shoal_consensus::Seq;
use shoal_shard::api::{Record, ShardError, Want, WantPayload, WantVectors};
use shoal_shard::{Shard, encode_op};
use shoal_vector::op::Selector;
use shoal_vector::{Op, Point, PointId};

/// Ids that are ever written.
pub(crate) const IDS: u64 = 48;

/// A point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    /// The op that wrote it.
    op: u64,
    /// The op that edited it since, or 0.
    edit: u64,
}

/// What each point was after each seq that changed it.
#[derive(Debug, Default)]
pub(crate) struct Points {
    versions: BTreeMap<u64, Vec<(Seq, Option<Value>)>>,
}

enum Does {
    Writes,
    Deletes,
    Edits,
}

/// What an op does, and to which points.
fn does(op: u64) -> (Does, Vec<u64>) {
    let id = op.wrapping_mul(7_919) % IDS;
    match op % 10 {
        0 => (Does::Deletes, vec![id]),
        1 | 2 => (Does::Edits, vec![id, (id + 5) % IDS]),
        3 => (Does::Writes, vec![id, (id + 1) % IDS, (id + 2) % IDS]),
        _ => (Does::Writes, vec![id]),
    }
}

fn payload(value: Value) -> String {
    format!("{{\"op\":{},\"edit\":{}}}", value.op, value.edit)
}

fn vector(op: u64) -> Vec<f32> {
    vec![(op % 1_000) as f32, 1.0]
}

/// The bytes of an op.
pub(crate) fn encoded(op: u64) -> Vec<u8> {
    let (what, ids) = does(op);
    let selector = || Selector::Ids(ids.iter().map(|&id| PointId::Num(id)).collect());
    encode_op(&match what {
        Does::Writes => {
            let point = |&id: &u64| Point {
                id: PointId::Num(id),
                vectors: vec![(String::new(), vector(op))],
                payload: payload(Value { op, edit: 0 }).into_bytes(),
            };
            Op::Upsert(ids.iter().map(point).collect())
        }
        Does::Deletes => Op::Delete(selector()),
        Does::Edits => {
            let payload = format!("{{\"edit\":{op}}}").into_bytes();
            Op::SetPayload { payload, key: None, points: selector() }
        }
    })
}

impl Points {
    /// An op is committed there.
    pub(crate) fn apply(&mut self, seq: Seq, op: u64) {
        let (what, ids) = does(op);
        for id in ids {
            let versions = self.versions.entry(id).or_default();
            let before = versions.last().and_then(|&(_, value)| value);
            let after = match what {
                Does::Writes => Some(Value { op, edit: 0 }),
                Does::Deletes => None,
                Does::Edits => before.map(|value| Value { edit: op, ..value }),
            };
            versions.push((seq, after));
        }
    }

    /// What a point is once all up to a seq is applied.
    fn at(&self, id: u64, seq: Seq) -> Option<Value> {
        let versions = self.versions.get(&id)?;
        let last = versions.partition_point(|&(at, _)| at <= seq).checked_sub(1)?;
        versions.get(last).and_then(|&(_, value)| value)
    }

    /// Compares what a shard answers with what it must; `Err` says how they differ.
    pub(crate) fn compare(&self, shard: &Shard, ids: &[u64], seq: Seq) -> Result<(), String> {
        let wanted: Vec<PointId> = ids.iter().map(|&id| PointId::Num(id)).collect();
        let found = read(shard, &wanted).map_err(|error| error.to_string())?;
        for &id in ids {
            let found = found.iter().find(|record| record.id == PointId::Num(id));
            let expected = self.at(id, seq);
            let same = match (found, expected) {
                (None, None) => true,
                (Some(record), Some(value)) => is(record, value),
                _ => false,
            };
            if !same {
                return Err(format!("at {seq} point {id} is {found:?}, not {expected:?}"));
            }
        }
        Ok(())
    }
}

fn read(shard: &Shard, ids: &[PointId]) -> Result<Vec<Record>, ShardError> {
    let want = Want { payload: WantPayload::All, vectors: WantVectors::All };
    shard.retrieve(ids, &want)
}

fn is(record: &Record, value: Value) -> bool {
    let number = |key: &str| {
        let payload = record.parts.payload.as_ref()?;
        payload.get(key)?.as_u64()
    };
    let vectors = vec![(String::new(), vector(value.op))];
    (number("op"), number("edit")) == (Some(value.op), Some(value.edit))
        && record.parts.vectors.as_ref() == Some(&vectors)
}
