//! Taking the shard as it is at one seq, and holding still there while its points are mended.
//!
//! Nothing is applied past a seq that somebody waits for, so the shard stops there if only for the time that it takes to hold
//! on to it. One at a time, and for a bounded time: what waits to be applied waits in memory, and readers for it.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use shoal_consensus::Seq;
use shoal_shard::api::ShardError;
use shoal_shard::mend::{Fixes, Mended};
use shoal_shard::moment::Moment;
use tokio::sync::oneshot;

use super::Driver;
use crate::clock;

/// How long a seq may take to be applied before nobody waits for it any more.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a replica holds still: about as much as a slow disk makes readers wait.
const HOLD: Duration = Duration::from_secs(10);

/// A wish to have the shard at a seq.
pub(crate) struct Capture {
    pub(crate) at: Seq,
    /// Whether nothing is to be applied behind it for now.
    pub(crate) hold: bool,
    pub(crate) reply: oneshot::Sender<Result<Captured, NotCaptured>>,
}

/// The shard at a seq. It goes on once this is dropped, if it holds still.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) moment: Moment,
    _hold: Option<Arc<()>>,
}

/// Why a shard was not had at a seq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotCaptured {
    /// It had applied more.
    Past,
    /// It did not apply as much in time.
    NotThere,
    /// Somebody else waits for one.
    Busy,
}

/// Points to be mended by whoever has the shard hold still.
pub(crate) struct Mend {
    pub(crate) fixes: Fixes,
    pub(crate) reply: oneshot::Sender<Result<(Mended, Moment), ShardError>>,
}

/// See the file's comment.
#[derive(Default)]
pub(super) struct Captures {
    wanted: Option<(Capture, Instant)>,
    held: Option<Held>,
}

struct Held {
    at: Seq,
    holder: Weak<()>,
    until: Instant,
}

impl Captures {
    /// Takes a wish, of a shard that applied so much.
    fn want(&mut self, capture: Capture, applied: Seq, now: Instant) {
        let refusal = match () {
            () if self.wanted.is_some() || self.held.is_some() => NotCaptured::Busy,
            () if capture.at < applied => NotCaptured::Past,
            () => {
                self.wanted = Some((capture, now + PATIENCE));
                return;
            }
        };
        // Whoever asked may be gone.
        let _ = capture.reply.send(Err(refusal));
    }

    /// Forgets what took too long, and what nobody waits for.
    fn expire(&mut self, now: Instant) {
        self.held.take_if(|held| held.holder.strong_count() == 0 || held.until <= now);
        self.wanted.take_if(|(capture, _)| capture.reply.is_closed());
        if let Some((capture, _)) = self.wanted.take_if(|(_, until)| *until <= now) {
            let _ = capture.reply.send(Err(NotCaptured::NotThere));
        }
    }

    /// Up to where may be applied, of what is committed.
    fn limit(&self, commit: Seq) -> Seq {
        let wanted = self.wanted.as_ref().map(|(capture, _)| capture.at);
        let held = self.held.as_ref().map(|held| held.at);
        wanted.into_iter().chain(held).fold(commit, Seq::min)
    }

    /// So much is applied. Whether more may be now that a wish was fulfilled.
    fn reached(&mut self, applied: Seq, now: Instant, moment: impl FnOnce() -> Moment) -> bool {
        let Some((capture, _)) = self.wanted.take_if(|(capture, _)| capture.at <= applied) else {
            return false;
        };
        if capture.at < applied {
            let _ = capture.reply.send(Err(NotCaptured::Past));
            return true;
        }
        let holder = capture.hold.then(|| Arc::new(()));
        self.held = holder.as_ref().map(|holder| Held {
            at: applied,
            holder: Arc::downgrade(holder),
            until: now + HOLD,
        });
        let _ = capture.reply.send(Ok(Captured { moment: moment(), _hold: holder }));
        self.held.is_none()
    }

    /// Lets the shard go on, whoever waits.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Driver {
    pub(super) fn capture(&mut self, capture: Capture) {
        let now = clock::now();
        self.captures.expire(now);
        self.captures.want(capture, self.disk.journal().applied(), now);
    }

    /// Mends points, if the shard holds still for it.
    pub(super) fn mend(&mut self, mend: Mend) {
        self.captures.expire(clock::now());
        let outcome = match self.captures.held.take_if(|held| held.at == mend.fixes.seq()) {
            Some(_) => self.disk.journal().mend(mend.fixes),
            None => Err(ShardError::NotReady {
                shard: self.home.shard.clone(),
                detail: "it held still for as long as it may".into(),
            }),
        };
        let _ = mend.reply.send(outcome.map(|mended| (mended, self.disk.journal().moment())));
    }

    /// Applies what is committed.
    pub(super) fn apply(&mut self) {
        self.captures.expire(clock::now());
        // One that leads is waited for by writers.
        if self.replica.status().leads.is_some() {
            self.captures.held = None;
        }
        loop {
            let until = self.captures.limit(self.commit);
            match self.disk.journal().apply(until) {
                Ok(applied) => {
                    let seq = self.disk.journal().applied();
                    self.clients.applied(seq, applied.refused);
                }
                Err(error) => return self.fail(error),
            }
            let journal = self.disk.journal();
            let applied = journal.applied();
            if !self.captures.reached(applied, clock::now(), || journal.moment()) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_shard::api::{Identity, Tuning};
    use shoal_shard::journal::Journal;
    use shoal_shard::{Limits, Shard};
    use shoal_vector::{Metric, Quantization, VectorConfig};

    use super::*;

    type Answer = oneshot::Receiver<Result<Captured, NotCaptured>>;

    fn wish(at: Seq, hold: bool) -> (Capture, Answer) {
        let (reply, answer) = oneshot::channel();
        (Capture { at, hold, reply }, answer)
    }

    fn open(dir: &std::path::Path) -> (Shard, Journal) {
        let vectors = vec![VectorConfig::new("", 2, Metric::Dot)];
        let identity =
            Identity { collection: "c".into(), shard: "c-0".into(), vectors, sparse: vec![] };
        let tuning = Tuning { ef_construct: 10, ef: 10, quantization: Quantization::default() };
        let (shard, journal, _) =
            Shard::open_replica(dir, identity, tuning, Limits::default()).unwrap();
        (shard, journal)
    }

    fn refusal(answer: &mut Answer) -> NotCaptured {
        answer.try_recv().unwrap().unwrap_err()
    }

    #[test]
    fn nothing_is_applied_past_a_seq_that_is_waited_for_and_one_is_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let (shard, journal) = open(dir.path());
        let (mut captures, now) = (Captures::default(), clock::now());
        assert_eq!(captures.limit(9), 9);
        let (late, mut answer) = wish(4, false);
        captures.want(late, 5, now);
        assert_eq!((refusal(&mut answer), captures.limit(9)), (NotCaptured::Past, 9));

        let (one, mut first) = wish(7, false);
        captures.want(one, 5, now);
        assert_eq!((captures.limit(9), captures.limit(6)), (7, 6));
        let (other, mut answer) = wish(8, false);
        captures.want(other, 5, now);
        assert_eq!(refusal(&mut answer), NotCaptured::Busy);
        assert!(!captures.reached(6, now, || unreachable!("it is not there")));
        assert!(captures.reached(7, now, || journal.moment()), "it goes on at once");
        assert!(first.try_recv().unwrap().is_ok());
        assert_eq!(captures.limit(9), 9);

        let (never, mut answer) = wish(70, false);
        captures.want(never, 7, now);
        captures.expire(now + PATIENCE);
        assert_eq!((refusal(&mut answer), captures.limit(99)), (NotCaptured::NotThere, 99));
        let (gone, answer) = wish(70, false);
        captures.want(gone, 7, now);
        drop(answer);
        captures.expire(now);
        assert_eq!(captures.limit(99), 99);
        drop(journal);
        shard.close();
    }

    #[test]
    fn it_holds_still_until_nobody_wants_it_to_or_for_too_long() {
        let dir = tempfile::tempdir().unwrap();
        let (shard, journal) = open(dir.path());
        let (mut captures, now) = (Captures::default(), clock::now());
        let hold = |captures: &mut Captures| {
            let (capture, mut answer) = wish(7, true);
            captures.want(capture, 5, now);
            assert!(!captures.reached(7, now, || journal.moment()));
            answer.try_recv().unwrap().unwrap()
        };
        let held = hold(&mut captures);
        captures.expire(now);
        assert_eq!(captures.limit(9), 7);
        drop(held);
        captures.expire(now);
        assert_eq!(captures.limit(9), 9);
        let held = hold(&mut captures);
        captures.expire(now + HOLD);
        assert_eq!(captures.limit(9), 9);
        drop(held);
        drop(journal);
        shard.close();
    }
}
