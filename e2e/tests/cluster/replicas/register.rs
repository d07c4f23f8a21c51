//! The API server answers slowly, or its store goes back to an older backup.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DeleteParams;

use super::story::{Story, tell};
use super::{AFTER_A_KILL, AFTER_A_NODE};

/// Changes that a backup does not have: far more than come soon after it is restored, so that no watch that waits for the
/// versions it saw gets there.
const CHANGES: usize = 300;

async fn age_backup(story: &Story) -> Result<()> {
    let configs = story.namespace.api::<ConfigMap>();
    let named = ObjectMeta { name: Some("age".to_owned()), ..ObjectMeta::default() };
    let mut config = ConfigMap { metadata: named, ..ConfigMap::default() };
    for change in 0..CHANGES {
        config.data = Some([("change".to_owned(), change.to_string())].into());
        story.namespace.apply(&config).await?;
    }
    ensure!(configs.get("age").await?.data == config.data, "the last change is not there");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn others_take_over_while_the_api_server_answers_slowly() -> Result<()> {
    tell("slow-api", |mut story, faults| async move {
        let namespace = story.namespace.name.clone();
        let slow = faults.slow_api()?;
        for (what, grace) in [("deleted", 30), ("deleted by force", 0)] {
            let ((_, pod), epoch) = (story.primary().await?, story.epoch().await?);
            story.does(&format!("the API server is slow, and the primary's pod is {what}"));
            let delete = DeleteParams::default().grace_period(grace);
            story.namespace.api::<Pod>().delete(&pod, &delete).await.map(drop)?;
            story.elected_after(epoch).await?;
            story.whole().await?;
        }
        let ((_, pod), epoch) = (story.primary().await?, story.epoch().await?);
        story.does("the API server is slow, and the primary's process is killed");
        faults.kill_pod(&namespace, &pod).await?;
        story.elected_after(epoch).await?;
        slow.end().await?;
        story.whole().await?;
        story.end(AFTER_A_KILL).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_etcd_is_restored_to_a_backup_with_an_older_primary() -> Result<()> {
    tell("restored", |mut story, faults| async move {
        let namespace = story.namespace.name.clone();
        faults.save_etcd("story").await?;
        let ((_, pod), saved) = (story.primary().await?, story.epoch().await?);
        story.does("the primary's process is killed");
        faults.kill_pod(&namespace, &pod).await?;
        story.elected_after(saved).await?;
        story.whole().await?;
        let led = story.epoch().await?;
        age_backup(&story).await?;

        story.does("etcd is restored to an older backup");
        faults.restore_etcd("story").await?;
        story.writes_go_on().await?;
        story.acks(100).await?;
        story.elected_after(led).await?;
        story.whole().await?;
        story.acks(100).await?;
        story.end(AFTER_A_NODE).await
    })
    .await
}
