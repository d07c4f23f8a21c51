//! Figures of a run: how long no write was acked after each kind of fault, and how reads fared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::check::Verdict;
use super::{Action, Outcome, Record};
use crate::figures::percentile;

/// Something that was done to those who answer.
#[derive(Clone, Debug)]
pub struct Injected {
    /// Its kind.
    pub what: String,
    /// When, in the history's time.
    pub at: u64,
}

/// A sample of times.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// The longest.
    pub fn max(&self) -> Duration {
        self.0.iter().max().copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99] = [50.0, 99.0].map(|at| percentile(&self.0, at).unwrap_or_default());
        let ms = |time: Duration| Duration::from_millis(time.as_millis() as u64);
        let (p50, p99, max) = (ms(p50), ms(p99), ms(self.max()));
        write!(f, "{} times, p50 {p50:?}, p99 {p99:?}, max {max:?}", self.0.len())
    }
}

/// By kind of fault, from each to the next ack of a write that was sent after it.
pub fn resumed(faults: &[Injected], records: &[Record]) -> BTreeMap<String, Times> {
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
    let mut times: BTreeMap<String, Times> = BTreeMap::new();
    for fault in faults {
        let from = acks.partition_point(|(sent, _)| *sent < fault.at);
        if first[from] < u64::MAX {
            let took = Duration::from_nanos(first[from] - fault.at);
            times.entry(fault.what.clone()).or_default().0.push(took);
        }
    }
    times
}

/// By kind of fault, the longest time from each until the next one in which no write was acked: for faults whose moment is
/// known less well, or that go on in steps.
pub fn stalls(faults: &[Injected], records: &[Record]) -> BTreeMap<String, Times> {
    let done = records.iter().filter(|record| record.outcome == Outcome::Done);
    let mut acks: Vec<u64> = done.map(|record| record.returned).collect();
    acks.sort_unstable();
    let mut times: BTreeMap<String, Times> = BTreeMap::new();
    for (index, fault) in faults.iter().enumerate() {
        let until = faults.get(index + 1).map_or(u64::MAX, |next| next.at);
        let after = acks.partition_point(|&ack| ack <= fault.at);
        let began = std::iter::once(fault.at).chain(acks[after..].iter().copied());
        let gaps = began.zip(&acks[after..]).take_while(|&(from, _)| from < until);
        let longest = gaps.map(|(from, &to)| to - from).max().unwrap_or(u64::MAX);
        times.entry(fault.what.clone()).or_default().0.push(Duration::from_nanos(longest));
    }
    times
}

/// All of it as text, each line begun with `name`; the last line is the summary. `times` are without acks.
pub fn report(
    name: &str,
    times: &BTreeMap<String, Times>,
    records: &[Record],
    verdict: &Verdict,
) -> String {
    let mut text = String::new();
    for (fault, times) in times {
        let _ = writeln!(text, "{name}: {fault}: no write acked for {times}");
    }
    let count = |is: &dyn Fn(&Record) -> bool| records.iter().filter(|record| is(record)).count();
    let failed = |record: &Record| record.outcome == Outcome::NotDone;
    let reads = count(&|r| !r.action.is_write());
    let reads_failed = count(&|r| !r.action.is_write() && failed(r));
    let any_failed = count(&|r| r.action == Action::Any && failed(r));
    let acked = count(&|r| r.outcome == Outcome::Done);
    let open = count(&|r| r.outcome == Outcome::Open);
    let refused = count(&|r| r.action.is_write() && failed(r));
    let _ = write!(
        text,
        "{name}: faults {}, ops acked {acked}, ops lost {}, reads {reads}, reads failed {reads_failed} (of any replica \
         {any_failed}), ops open {open}, ops refused {refused}, violations {}",
        times.values().map(|times| times.0.len()).sum::<usize>(),
        verdict.lost,
        verdict.violations.len(),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acked(sent: u64, returned: u64) -> Record {
        let (action, outcome) = (Action::Upsert(sent), Outcome::Done);
        Record {
            key: 0,
            client: 1,
            op: sent,
            action,
            invoked: sent,
            sent,
            returned,
            by: 0,
            outcome,
        }
    }

    fn only(times: BTreeMap<String, Times>) -> Vec<u64> {
        let times = times.into_values().flat_map(|times| times.0);
        times.map(|time| time.as_nanos() as u64).collect()
    }

    #[test]
    fn a_stall_is_the_longest_time_without_an_ack_until_the_next_fault() {
        let records = [acked(1, 5), acked(6, 12), acked(13, 40), acked(41, 43), acked(44, 99)];
        let fault = |at| Injected { what: "killed".to_owned(), at };
        // From 12 to 40, and what was sent after 10 is acked at 40.
        assert_eq!(only(stalls(&[fault(10), fault(41)], &records)), [28, 56]);
        assert_eq!(only(resumed(&[fault(10)], &records)), [30]);
        assert_eq!(only(stalls(&[fault(100)], &records)), [u64::MAX], "it never went on");
    }
}
