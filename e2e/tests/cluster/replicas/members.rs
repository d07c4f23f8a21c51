//! Disks that are lost for good, and more and fewer replicas.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use shoal_crds::{Shard, VectorCollection, labels};
use shoal_e2e::cluster::until;

use super::story::{NAME, Story, pod_of, tell, tell_of};
use super::{AFTER_A_KILL, AFTER_A_RESTART};
use crate::START;

/// The disk that a replica says it has.
async fn disk_of(story: &Story, name: &str) -> Result<String> {
    let replicas = story.shard().await?.status.unwrap_or_default().replicas;
    let replica = replicas.into_iter().find(|replica| replica.name == name);
    Ok(replica.context("a replica that says nothing of itself")?.disk_id)
}

async fn scale(story: &mut Story, replicas: u32) -> Result<()> {
    story.does(&format!("{replicas} replicas are asked for"));
    let patch = Patch::Merge(json!({"spec": {"replication": {"replicas": replicas}}}));
    let collections = story.namespace.api::<VectorCollection>();
    collections.patch(NAME, &PatchParams::default(), &patch).await?;
    until(&format!("{replicas} voters"), 2 * START, || async {
        let register = story.shard().await?.status.unwrap_or_default().register;
        let voters = register.map_or(0, |register| register.members.voters.len());
        ensure!(voters == replicas as usize, "{voters} vote");
        Ok(Some(()))
    })
    .await?;
    story.whole().await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_become_five_and_three_again_while_clients_write_and_read() -> Result<()> {
    tell("scaled", |mut story, _faults| async move {
        scale(&mut story, 5).await?;
        scale(&mut story, 3).await?;
        disks_left(&story, 3).await?;
        story.end(AFTER_A_KILL).await
    })
    .await
}

/// Waits until the disks of those that were taken out are gone.
async fn disks_left(story: &Story, count: usize) -> Result<()> {
    until(&format!("{count} disks to be left"), START, || async {
        let claims = story.namespace.api::<PersistentVolumeClaim>();
        let left = claims.list(&Default::default()).await?.items.len();
        ensure!(left == count, "{left} claims");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_copy_becomes_three_survives_its_own_loss_and_is_one_again_while_clients_write_and_read()
-> Result<()> {
    tell_of("from-one", 1, |mut story, faults| async move {
        let disk = story.namespace.api::<PersistentVolumeClaim>();
        let before = disk.get("data-story-0-r0-0").await?.metadata.uid;
        scale(&mut story, 3).await?;
        let after = disk.get("data-story-0-r0-0").await?.metadata.uid;
        ensure!(before == after, "the disk was another");
        story.acks(100).await?;

        let ((_, pod), epoch) = (story.primary().await?, story.epoch().await?);
        story.does("the process of the one that was alone is killed");
        faults.kill_pod(&story.namespace.name, &pod).await?;
        story.elected_after(epoch).await?;
        story.whole().await?;

        scale(&mut story, 1).await?;
        disks_left(&story, 1).await?;
        story.acks(100).await?;
        scale(&mut story, 3).await?;
        story.end(AFTER_A_RESTART).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_disk_is_replaced_and_a_deleted_shard_comes_back_with_all_that_was_acked()
-> Result<()> {
    tell("lost-disk", |mut story, _faults| async move {
        let (name, pod) = story.primary().await?;
        let disk = disk_of(&story, &name).await?;
        story.does("the primary's disk is lost for good");
        let claims = story.namespace.api::<PersistentVolumeClaim>();
        let claim = format!("data-{}", pod_of(&name));
        let now = DeleteParams::default().grace_period(0);
        claims.delete(&claim, &now).await.map(drop)?;
        story.namespace.api::<Pod>().delete(&pod, &now).await.map(drop)?;
        until("another disk", START, || async {
            let now = disk_of(&story, &name).await?;
            ensure!(now != disk, "{name} has the disk {disk}");
            Ok(Some(()))
        })
        .await?;
        story.writes_go_on().await?;
        story.whole().await?;

        story.does("the Shard object is deleted");
        let shard = labels::shard_name(NAME, 0);
        let before = story.shard().await?.metadata.uid;
        let shards = story.namespace.api::<Shard>();
        shards.delete(&shard, &DeleteParams::default()).await.map(drop)?;
        until("the Shard to come back with a register", 2 * START, || async {
            let shard = story.shard().await?;
            let again = shard.metadata.uid != before;
            let register = shard.status.and_then(|status| status.register);
            Ok((again && register.is_some()).then_some(()))
        })
        .await?;
        story.whole().await?;
        story.acks(100).await?;
        story.end(AFTER_A_KILL).await
    })
    .await
}
