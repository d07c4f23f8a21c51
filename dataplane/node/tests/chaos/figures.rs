//! Figures of a run: how long no write was acked after each kind of fault, and how reads fared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::faults::{Fault, Round};
use crate::history::{Action, Outcome, Record};

/// A sample of times.
#[derive(Default)]
struct Times(Vec<u64>);

impl Times {
    fn of(mut nanos: Vec<u64>) -> Self {
        nanos.sort_unstable();
        Self(nanos)
    }

    /// The value that this share of all does not exceed, nearest rank.
    fn quantile(&self, share: f64) -> Duration {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        let nanos = self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default();
        Duration::from_millis(nanos / 1_000_000)
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| self.quantile(share));
        write!(f, "{} times, p50 {p50:?}, p99 {p99:?}, max {max:?}", self.0.len())
    }
}

/// From each fault to the next ack of a write that was sent after it.
fn resumed(rounds: &[Round], records: &[Record]) -> BTreeMap<Fault, Times> {
    let mut acks: Vec<(u64, u64)> = records
        .iter()
        .filter(|record| record.outcome == Outcome::Done)
        .map(|record| (record.sent, record.returned))
        .collect();
    acks.sort_unstable();
    // The first ack of all that were sent from here on.
    let mut first = vec![u64::MAX; acks.len() + 1];
    for (index, (_, returned)) in acks.iter().enumerate().rev() {
        first[index] = first[index + 1].min(*returned);
    }
    let mut times: BTreeMap<Fault, Vec<u64>> = BTreeMap::new();
    for round in rounds {
        let from = acks.partition_point(|(sent, _)| *sent < round.at);
        if first[from] < u64::MAX {
            times.entry(round.fault).or_default().push(first[from] - round.at);
        }
    }
    times.into_iter().map(|(fault, nanos)| (fault, Times::of(nanos))).collect()
}

/// All of it as text; the last line is the summary.
pub(crate) fn report(rounds: &[Round], records: &[Record], lost: u64, violations: usize) -> String {
    let mut text = String::new();
    let resumed = resumed(rounds, records);
    for (fault, times) in &resumed {
        let _ = writeln!(text, "chaos: {fault:?}: writes go on after {times}");
    }
    let count = |is: &dyn Fn(&Record) -> bool| records.iter().filter(|record| is(record)).count();
    let read = |record: &Record, action| record.action == action;
    let failed = |record: &Record| record.outcome == Outcome::NotDone;
    let reads = count(&|r| !r.action.is_write());
    let reads_failed = count(&|r| !r.action.is_write() && failed(r));
    let any_failed = count(&|r| read(r, Action::Any) && failed(r));
    let acked = count(&|r| r.outcome == Outcome::Done);
    let open = count(&|r| r.outcome == Outcome::Open);
    let refused = count(&|r| r.action.is_write() && failed(r));
    let kills = Times::of(
        resumed.into_iter().filter(|(f, _)| f.is_failover()).flat_map(|(_, t)| t.0).collect(),
    );
    let _ = write!(
        text,
        "chaos: rounds {}, ops acked {acked}, ops lost {lost}, reads {reads}, reads failed {reads_failed} (of any replica \
         {any_failed}), ops open {open}, ops refused {refused}, violations {violations}, from kill -9 of the primary to \
         the next ack: {kills}",
        rounds.len(),
    );
    text
}
