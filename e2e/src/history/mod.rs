//! What clients asked and were told, with the times of one monotonic clock, kept as JSON lines.
//!
//! A point is a register: an upsert sets it to a number that no other write has, a merge into its payload adds another
//! such number, a delete empties it. So a read says which writes it saw.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

pub mod check;
#[cfg(test)]
mod check_tests;
pub mod figures;
mod linear;
#[cfg(test)]
mod linear_tests;
pub mod over_http;
pub mod workers;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;

/// A point that is there: what the last upsert gave it and what was merged into its payload since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Value {
    /// The number of the upsert.
    pub number: u64,
    /// That of the last merge since.
    pub merged: Option<u64>,
}

/// The vector that an upsert of this number writes: so that a point of two writes is found.
pub fn vector(number: u64) -> Vec<f32> {
    vec![(number >> 16) as f32, (number & 0xffff) as f32]
}

/// What a point is that has this payload and this vector. Panics on one that no write of a history makes.
pub fn value(key: u64, payload: &serde_json::Value, stored: &[f32]) -> Value {
    let number = payload["number"].as_u64();
    let Some(number) = number else { panic!("torn point {key}: {payload}") };
    assert_eq!(stored, vector(number), "point {key} with another's vector");
    Value { number, merged: payload["merged"].as_u64() }
}

/// What a point is; `None`: it is not there.
pub type State = Option<Value>;

/// What was asked of one point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Sets the point to this number.
    Upsert(u64),
    /// Adds this number to its payload, if it is there.
    Merge(u64),
    /// Empties it.
    Delete,
    /// A read that has to see every write acked before it began.
    Strong,
    /// A read of what any replica has committed.
    Any,
}

impl Action {
    /// Whether it changes the point.
    pub fn is_write(self) -> bool {
        !matches!(self, Action::Strong | Action::Any)
    }

    /// The point after this was done to it.
    pub fn apply(self, before: State) -> State {
        match self {
            Action::Upsert(number) => Some(Value { number, merged: None }),
            Action::Merge(merged) => before.map(|value| Value { merged: Some(merged), ..value }),
            Action::Delete => None,
            Action::Strong | Action::Any => before,
        }
    }

    /// Whether who sees this state sees this write.
    pub fn shows_in(self, state: State) -> bool {
        match self {
            Action::Upsert(number) => state.is_some_and(|value| value.number == number),
            Action::Merge(merged) => state.is_some_and(|value| value.merged == Some(merged)),
            _ => false,
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A write was acked.
    Done,
    /// A read was answered.
    Saw(State),
    /// It certainly had no effect.
    NotDone,
    /// A write may or may not have had, or may yet have, its effect.
    Open,
}

/// One op on one point. Times are nanoseconds since the history began.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Record {
    /// The point.
    pub key: u64,
    /// Who asked.
    pub client: u64,
    /// Number of the op among this client's.
    pub op: u64,
    /// What was asked.
    pub action: Action,
    /// When it was first sent; of a read, when the attempt that was answered was.
    pub invoked: u64,
    /// When the attempt that ended it was sent.
    pub sent: u64,
    /// When the answer came.
    pub returned: u64,
    /// The replica that answered last.
    pub by: usize,
    /// How it ended.
    pub outcome: Outcome,
}

/// Time in which a replica could talk to no other, though clients reached it: what it acks of what was sent to it in
/// that time, nobody else has.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CutOff {
    /// Which replica, as in [`Record::by`].
    pub replica: usize,
    /// From when on.
    pub from: u64,
    /// Until when.
    pub to: u64,
}

/// One line of the file.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Op(&'a Record),
    CutOff(&'a CutOff),
    Fault { at: u64, what: &'a str },
    Remark { at: u64, what: &'a str },
}

/// Everything of a run, also in a file.
pub struct History {
    began: Instant,
    path: PathBuf,
    inner: Mutex<Inner>,
    /// When the latest sent of the writes that were acked was sent.
    acked: AtomicU64,
    acks: AtomicU64,
}

struct Inner {
    file: BufWriter<File>,
    records: Vec<Record>,
    cut_off: Vec<CutOff>,
}

impl History {
    /// An empty history; the file is made anew.
    pub fn new(path: &Path) -> Self {
        let file = BufWriter::new(File::create(path).unwrap());
        let inner = Inner { file, records: Vec::new(), cut_off: Vec::new() };
        Self {
            began: Instant::now(),
            path: path.to_owned(),
            inner: Mutex::new(inner),
            acked: AtomicU64::new(0),
            acks: AtomicU64::new(0),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Nanoseconds since it began.
    pub fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Takes note of an op.
    pub fn record(&self, record: Record) {
        if record.outcome == Outcome::Done {
            self.acked.fetch_max(record.sent, Ordering::SeqCst);
            self.acks.fetch_add(1, Ordering::SeqCst);
        }
        let mut inner = self.inner.lock().unwrap();
        inner.write(&Line::Op(&record));
        inner.records.push(record);
    }

    /// Takes note of a replica that was cut off.
    pub fn cut_off(&self, cut_off: CutOff) {
        let mut inner = self.inner.lock().unwrap();
        inner.write(&Line::CutOff(&cut_off));
        inner.cut_off.push(cut_off);
    }

    /// Takes note of what was done to those who answer.
    pub fn fault(&self, at: u64, what: &str) {
        self.inner.lock().unwrap().write(&Line::Fault { at, what });
    }

    /// Takes note of something for who reads the file.
    pub fn remark(&self, what: &str) {
        let at = self.now();
        self.inner.lock().unwrap().write(&Line::Remark { at, what });
    }

    /// Whether a write was acked that was sent after this time.
    pub fn acked_since(&self, time: u64) -> bool {
        self.acked.load(Ordering::SeqCst) > time
    }

    /// Writes acked so far.
    pub fn acks(&self) -> u64 {
        self.acks.load(Ordering::SeqCst)
    }

    /// All of it, and the file complete.
    pub fn finish(&self) -> (Vec<Record>, Vec<CutOff>) {
        let mut inner = self.inner.lock().unwrap();
        inner.file.flush().unwrap();
        (std::mem::take(&mut inner.records), std::mem::take(&mut inner.cut_off))
    }
}

impl Inner {
    fn write(&mut self, line: &Line<'_>) {
        serde_json::to_writer(&mut self.file, line).unwrap();
        self.file.write_all(b"\n").unwrap();
    }
}
