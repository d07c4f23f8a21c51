//! What clients asked and were told, with the times of one monotonic clock, kept as JSON lines.
//!
//! A point is a register: an upsert sets it to a number that no other write has, a merge into its payload adds another
//! such number, a delete empties it. So a read says which writes it saw.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;

/// A point that is there: what the last upsert gave it and what was merged into its payload since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub(crate) struct Value {
    pub(crate) number: u64,
    pub(crate) merged: Option<u64>,
}

/// What a point is; `None`: it is not there.
pub(crate) type State = Option<Value>;

/// What was asked of one point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Upsert(u64),
    Merge(u64),
    Delete,
    /// A read that has to see every write acked before it began.
    Strong,
    /// A read of what any replica has committed.
    Any,
}

impl Action {
    pub(crate) fn is_write(self) -> bool {
        !matches!(self, Action::Strong | Action::Any)
    }

    /// The point after this was done to it.
    pub(crate) fn apply(self, before: State) -> State {
        match self {
            Action::Upsert(number) => Some(Value { number, merged: None }),
            Action::Merge(merged) => before.map(|value| Value { merged: Some(merged), ..value }),
            Action::Delete => None,
            Action::Strong | Action::Any => before,
        }
    }

    /// Whether who sees this state sees this write.
    pub(crate) fn shows_in(self, state: State) -> bool {
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
pub(crate) enum Outcome {
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
pub(crate) struct Record {
    pub(crate) key: u64,
    pub(crate) client: u64,
    pub(crate) op: u64,
    pub(crate) action: Action,
    /// When it was first sent; of a read, when the attempt that was answered was.
    pub(crate) invoked: u64,
    /// When the attempt that ended it was sent.
    pub(crate) sent: u64,
    pub(crate) returned: u64,
    /// The replica that answered last.
    pub(crate) by: usize,
    pub(crate) outcome: Outcome,
}

/// Time in which a replica could talk to no other, though clients reached it: what it acks of what was sent to it in
/// that time, nobody else has.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct CutOff {
    pub(crate) replica: usize,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// One line of the file.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Op(&'a Record),
    CutOff(&'a CutOff),
    Fault { at: u64, what: &'a str },
}

/// Everything of a run, also in a file.
pub(crate) struct History {
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
    pub(crate) fn new(path: &Path) -> Self {
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

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Nanoseconds since it began.
    pub(crate) fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    pub(crate) fn record(&self, record: Record) {
        if record.outcome == Outcome::Done {
            self.acked.fetch_max(record.sent, Ordering::SeqCst);
            self.acks.fetch_add(1, Ordering::SeqCst);
        }
        let mut inner = self.inner.lock().unwrap();
        inner.write(&Line::Op(&record));
        inner.records.push(record);
    }

    pub(crate) fn cut_off(&self, cut_off: CutOff) {
        let mut inner = self.inner.lock().unwrap();
        inner.write(&Line::CutOff(&cut_off));
        inner.cut_off.push(cut_off);
    }

    pub(crate) fn fault(&self, at: u64, what: &str) {
        self.inner.lock().unwrap().write(&Line::Fault { at, what });
    }

    /// Whether a write was acked that was sent after this time.
    pub(crate) fn acked_since(&self, time: u64) -> bool {
        self.acked.load(Ordering::SeqCst) > time
    }

    /// Writes acked so far.
    pub(crate) fn acks(&self) -> u64 {
        self.acks.load(Ordering::SeqCst)
    }

    /// All of it, and the file complete.
    pub(crate) fn finish(&self) -> (Vec<Record>, Vec<CutOff>) {
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
