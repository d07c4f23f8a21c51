//! Leader election: of several instances one acts. IO around the pure [`election`].
//!
//! Invariant: an instance that could not renew in time stops acting before another may start.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;

pub mod election;

use crate::env;
use election::{Election, Step};

/// Name of the Lease.
pub const LEASE: &str = "shoal-operator";

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The API server was not reached yet.
    Unknown,
    /// Another instance acts.
    Standby,
    /// This one acts.
    Leads,
    /// This one acted and could not renew: it must end.
    Lost,
}

/// An instance's part in the election.
pub struct Candidate {
    leases: Api<Lease>,
    election: Election,
    standing: watch::Sender<Standing>,
}

impl Candidate {
    /// A candidate, and where it stands.
    pub fn new(
        client: Client,
        namespace: &str,
        identity: String,
        ttl: Duration,
    ) -> (Self, watch::Receiver<Standing>) {
        let (standing, receiver) = watch::channel(Standing::Unknown);
        let leases = Api::namespaced(client, namespace);
        (Self { leases, election: Election::new(identity, ttl), standing }, receiver)
    }

    /// Takes part until it led and lost, or `stop` says so; then releases the Lease it may hold.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            // One time for both: who has not lost by now has time left, and no more than that.
            let now = env::instant();
            if self.has_lost(now) {
                return;
            }
            let limit = self.election.limit(now);
            match tokio::time::timeout(limit, self.round()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "leader election: the API server did not answer");
                }
                Err(_) => tracing::warn!("leader election: the API server did not answer in time"),
            }
            if self.has_lost(env::instant()) {
                return;
            }
            let led = *self.standing.borrow() == Standing::Leads;
            let leads = self.election.leads(env::instant());
            if leads && !led {
                tracing::info!(identity = self.election.identity(), "leading");
                self.standing.send_replace(Standing::Leads);
            }
            let pause = self.election.pause(env::instant());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        self.release().await;
    }

    /// Whether this instance led and may no longer; says so.
    fn has_lost(&self, now: Instant) -> bool {
        let led = *self.standing.borrow() == Standing::Leads;
        let lost = led && !self.election.leads(now);
        if lost {
            tracing::error!("lost the Lease: ending, so that only one instance acts");
            self.standing.send_replace(Standing::Lost);
        }
        lost
    }

    /// Looks at the Lease, and takes or renews it.
    async fn round(&mut self) -> Result<(), kube::Error> {
        // A request that hangs must not outlast the time a leader has to notice.
        let patience = self.election.patience();
        let timed_out = |_| kube::Error::Service("no answer in time".into());
        let before = env::instant();
        let lease = tokio::time::timeout(patience, self.leases.get_opt(LEASE))
            .await
            .map_err(timed_out)??;
        self.election.observe(lease.as_ref(), env::instant());
        self.standing.send_if_modified(|standing| {
            let first = *standing == Standing::Unknown;
            if first {
                *standing = Standing::Standby;
            }
            first
        });
        let written = match self.election.step(env::instant()) {
            Step::Wait => return Ok(()),
            Step::Create => {
                let mut lease = Lease {
                    metadata: ObjectMeta { name: Some(LEASE.into()), ..ObjectMeta::default() },
                    spec: None,
                };
                self.election.claim(&mut lease, env::now());
                tokio::time::timeout(patience, self.leases.create(&PostParams::default(), &lease))
                    .await
            }
            Step::Replace => {
                let mut lease = lease.unwrap_or_default();
                self.election.claim(&mut lease, env::now());
                tokio::time::timeout(
                    patience,
                    self.leases.replace(LEASE, &PostParams::default(), &lease),
                )
                .await
            }
        };
        match written.map_err(timed_out)? {
            Ok(lease) => self.election.won(&lease, before, env::instant()),
            // Another one was quicker; the next round sees it.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Gives the Lease back, so that another instance need not wait for it to expire.
    async fn release(&self) {
        if !self.election.leads(env::instant()) {
            return;
        }
        let patience = self.election.patience();
        let released = tokio::time::timeout(patience, async {
            let mut lease = self.leases.get(LEASE).await?;
            if !self.election.give_back(&mut lease) {
                return Ok(());
            }
            self.leases.replace(&lease.name_any(), &PostParams::default(), &lease).await.map(|_| ())
        });
        match released.await {
            Ok(Ok(())) => tracing::info!("gave the Lease back"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "could not give the Lease back; it expires by itself")
            }
            Err(_) => tracing::warn!("could not give the Lease back in time; it expires by itself"),
        }
    }
}
