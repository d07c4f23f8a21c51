//! Fetching the snapshot that a primary offers, and putting it in the place of what this replica has.

use shoal_consensus::Input;
use shoal_replica::{convert, installed};
use shoal_shard::Shard;
use shoal_shard::journal::Journal;
use shoal_shard::{OpenError, snapshot};

use super::Driver;
use crate::clock;
use crate::replica::handle::Event;
use crate::replica::start::Home;
use crate::replica::transport::Offer;

/// How long readers of the shard that is replaced may take to end.
const READERS: std::time::Duration = std::time::Duration::from_secs(60);

/// How often it is looked whether they have.
const LOOK: std::time::Duration = std::time::Duration::from_millis(20);

impl Driver {
    /// A primary says that this replica needs a snapshot. One is fetched at a time; what another primary says meanwhile it says
    /// again.
    pub(super) fn offered(&mut self, offer: Offer) {
        let Some(address) = self.outside.address(&self.seen, offer.from) else { return };
        if std::mem::replace(&mut self.fetching, true) {
            return;
        }
        tracing::info!(shard = self.home.shard, address, "fetching a snapshot");
        let (fetch, events) =
            (self.outside.fetch(address, &self.home), self.outside.events.clone());
        self.outside.runtime.spawn(async move {
            let event = match fetch.await {
                Ok(fetched) => Event::Fetched {
                    from: fetched.from,
                    epoch: fetched.epoch,
                    at: convert::position_from_disk(fetched.restored.position()),
                },
                Err(error) => {
                    tracing::warn!(%error, "the snapshot was not fetched; it will be tried again");
                    Event::NotFetched
                }
            };
            let _ = events.send(event).await;
        });
    }

    /// The fetched snapshot counts. Blocks until the shard is open again. Where it does not open the process ends: what is
    /// begun, the next start finishes.
    pub(super) fn install(&mut self) {
        if let Err(error) = self.try_install() {
            clock::fatal(&format!("a snapshot could not be installed: {error:#}"));
        }
    }

    fn try_install(&mut self) -> anyhow::Result<()> {
        // All writes before it are durable first, the promise of the sender's epoch among them.
        let durable = match self.disk.drain() {
            Ok(Some(durable)) => durable,
            // It is offered again.
            Ok(None) => return Ok(()),
            Err(error) => {
                self.fail(error);
                return Ok(());
            }
        };
        self.captures.clear();
        if let Some(shard) = self.home.slot.take("it takes over a snapshot; retry") {
            Shard::clone(&shard).close();
        }
        let journal = self.disk.journal();
        let (aside, cut) = (kept_aside(journal), journal.cut_since_open());
        journal.keep_tail_aside();
        self.disk.close();
        self.when_free(|home| snapshot::install(&home.dir))?;
        let (shard, journal, recovered) = self.when_free(Home::open)?;
        let installed = installed(recovered)?;
        // Some of the tail may be in the snapshot.
        self.cut_before += cut + kept_aside(&journal).saturating_sub(aside);
        self.disk.open(journal);
        self.home.slot.set(shard);
        tracing::info!(shard = self.home.shard, seq = installed.at.seq, "took over a snapshot");
        self.step(Input::Durable(durable));
        self.step(installed.input());
        Ok(())
    }

    /// Does something to the folder once those who still read the shard that was closed are done.
    fn when_free<T>(&self, act: impl Fn(&Home) -> Result<T, OpenError>) -> Result<T, OpenError> {
        let deadline = clock::now() + READERS;
        loop {
            match act(&self.home) {
                Err(OpenError::InUse(_)) if clock::now() < deadline => clock::pause(LOOK),
                done => return done,
            }
        }
    }
}

fn kept_aside(journal: &Journal) -> u64 {
    journal.cut_off().iter().map(|cut| cut.ops).sum()
}
