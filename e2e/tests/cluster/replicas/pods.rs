//! The primary's pod is killed, deleted, frozen, and replaced by another image's.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use shoal_crds::VectorCollection;
use shoal_e2e::cluster::until;

use super::AFTER_A_KILL;
use super::story::{NAME, tell};
use crate::START;

/// Kills of the primary's process.
const KILLS: usize = 3;
/// Longer than it takes to elect another.
const FROZEN: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_primaries_are_killed_deleted_and_frozen() -> Result<()> {
    tell("primary", |mut story, faults| async move {
        let namespace = story.namespace.name.clone();
        for _ in 0..KILLS {
            let ((_, pod), epoch) = (story.primary().await?, story.epoch().await?);
            story.does("the primary's process is killed");
            faults.kill_pod(&namespace, &pod).await?;
            story.elected_after(epoch).await?;
            story.whole().await?;
        }
        let ((_, pod), epoch) = (story.primary().await?, story.epoch().await?);
        story.does("the primary's pod is deleted by force");
        let now = DeleteParams::default().grace_period(0);
        story.namespace.api::<Pod>().delete(&pod, &now).await.map(drop)?;
        story.elected_after(epoch).await?;
        story.whole().await?;

        let ((_, pod), epoch) = (story.primary().await?, story.epoch().await?);
        story.does("the primary is frozen");
        faults.freeze_pod(&namespace, &pod).await?;
        tokio::time::sleep(FROZEN).await;
        story.elected_after(epoch).await?;
        story.does("it goes on");
        faults.thaw_pod(&namespace, &pod).await?;
        story.acks(100).await?;
        story.whole().await?;
        story.end(AFTER_A_KILL).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_rolled_while_clients_write_and_read() -> Result<()> {
    tell("rolled", |mut story, faults| async move {
        let collections = story.namespace.api::<VectorCollection>();
        let image = story.shard().await?.spec.image;
        let (name, _) = image.rsplit_once(':').context("an image without a tag")?;
        let other = format!("{name}:rolled");
        faults.tag_image(&image, &other).await?;
        story.does("the image is rolled");
        let patch = Patch::Merge(json!({"spec": {"image": other}}));
        collections.patch(NAME, &PatchParams::default(), &patch).await?;
        until("all pods to run it", 3 * START, || async {
            let pods = story.namespace.shard_pods(NAME).await?;
            let runs = |pod: &Pod| {
                pod.spec.as_ref().is_some_and(|spec| {
                    spec.containers.iter().any(|container| container.image.as_ref() == Some(&other))
                })
            };
            Ok((pods.len() == 3 && pods.iter().all(runs)).then_some(()))
        })
        .await?;
        story.whole().await?;
        story.writes_go_on().await?;
        story.end(AFTER_A_KILL).await
    })
    .await
}
