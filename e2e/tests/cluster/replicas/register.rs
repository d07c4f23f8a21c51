//! The API server's store goes back to an older backup.

use anyhow::Result;

use super::AFTER_A_NODE;
use super::story::tell;

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
