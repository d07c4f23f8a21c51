//! The process: health first, then the election; while leading, [`act`].
//!
//! Invariant: it acts only while this instance leads; on SIGTERM it finishes what it is at, and only then gives the
//! Lease back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::act::{Actor, act};
use crate::admin::{self, Health};
use crate::env;
use crate::leader::{Candidate, Standing};
use crate::settings::Settings;
use crate::telemetry::Telemetry;

/// Runs until a signal, or until the Lease is lost, which is an error.
pub async fn run(settings: Settings, client: Client) -> anyhow::Result<()> {
    let (stop_sender, stop) = watch::channel(false);
    tokio::spawn(async move {
        signalled().await;
        tracing::info!("asked to stop");
        stop_sender.send_replace(true);
    });
    run_until(settings, client, stop).await
}

/// Runs until `stop` is true, or until the Lease is lost, which is an error.
pub async fn run_until(
    settings: Settings,
    client: Client,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut registry = Registry::default();
    let telemetry = Telemetry::new(&mut registry);
    let health = Arc::new(Health::default());
    let mut serving = JoinSet::new();
    serving.spawn(admin::serve(settings.admin_listen, Arc::clone(&health), Arc::new(registry)));

    let instance = settings.identity.clone().unwrap_or_else(host_name);
    let ttl = Duration::from_secs(settings.lease_seconds);
    let (candidate, standing) =
        Candidate::new(client.clone(), &settings.namespace, identity(&instance)?, ttl);
    let (release, released) = watch::channel(false);
    let election = tokio::spawn(candidate.run(released));

    let actor = Actor { settings, client, telemetry: telemetry.clone(), health, instance };
    let result = tokio::select! {
        result = act_once_leading(actor, standing, stop) => result,
        Some(ended) = serving.join_next() => match ended {
            Ok(Ok(())) => Err(anyhow::anyhow!("the admin server ended")),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(error.into()),
        },
    };
    telemetry.leads(false);
    release.send_replace(true);
    election.await.context("the election ended badly")?;
    result
}

/// Waits until this instance leads, and acts until it is stopped.
async fn act_once_leading(
    actor: Actor,
    mut standing: watch::Receiver<Standing>,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    for (awaited, first_contact) in [(Standing::Standby, true), (Standing::Leads, false)] {
        let reached =
            |seen: &Standing| *seen == awaited || (first_contact && *seen != Standing::Unknown);
        tokio::select! {
            reached = standing.wait_for(reached) => { reached.context("the election ended")?; }
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
        // One that stands by is ready: should the leader end, this one goes on.
        actor.health.set_ready();
    }
    let mut lost = standing;
    tokio::select! {
        result = act(actor, stop) => result,
        _ = lost.wait_for(|standing| *standing != Standing::Leads) => {
            anyhow::bail!("lost the Lease: another instance may act")
        }
    }
}

/// A namesake that restarted is another instance: what the former one had under way is not its own.
fn identity(instance: &str) -> anyhow::Result<String> {
    let key = env::random_key().context("cannot draw an identity")?;
    Ok(format!("{instance}_{}", key.get(..8).unwrap_or(&key)))
}

fn host_name() -> String {
    let name = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    name.unwrap_or_else(|| "operator".to_owned())
}

/// Until SIGTERM or SIGINT.
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(error) => {
            tracing::warn!(%error, "cannot listen for SIGTERM");
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
