//! Keeps a replica's announcement in the register's address book.

use std::time::Duration;

use tokio::sync::watch;

use super::{Announced, RegisterStore};
use crate::clock;

/// When what was announced and is not seen is announced again.
const AGAIN: Duration = Duration::from_secs(1);

/// Announces a replica, whenever what it is changed, and when the address book was lost. Returns once nobody can change
/// either any more.
pub async fn keep_announced(store: &dyn RegisterStore, mut own: watch::Receiver<Announced>) {
    let mut seen = store.watch();
    loop {
        let wanted = own.borrow_and_update().clone();
        let announced = &seen.borrow_and_update().announced.clone();
        let is_seen = announced.contains(&wanted) || announced.contains(&wanted.not_blank());
        if !is_seen && let Err(error) = store.announce(&wanted).await {
            tracing::warn!(%error, "the others may not find this replica; trying again");
        }
        let open = tokio::select! {
            changed = own.changed() => changed.is_ok(),
            changed = seen.changed(), if is_seen => changed.is_ok(),
            () = clock::sleep(AGAIN), if !is_seen => true,
        };
        if !open {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_consensus::DiskId;

    use super::super::file::FileRegister;
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_announcement_is_made_changed_and_made_again_when_it_was_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("register.json");
        let store = FileRegister::open(&path);
        let first = Announced {
            name: "r0".to_owned(),
            disk: DiskId(1),
            address: "a:1".to_owned(),
            blank: true,
        };
        let (own, receiver) = watch::channel(first.clone());
        let mut seen = store.watch();
        let steps = async {
            seen.wait_for(|seen| seen.announced == [first.clone()]).await.unwrap();
            let second = Announced { blank: false, ..first };
            own.send_replace(second.clone());
            seen.wait_for(|seen| seen.announced == [second.clone()]).await.unwrap();
            std::fs::remove_file(&path).unwrap();
            seen.wait_for(|seen| seen.announced.is_empty()).await.unwrap();
            seen.wait_for(|seen| seen.announced == [second.clone()]).await.unwrap();
        };
        tokio::select! {
            () = keep_announced(&store, receiver) => panic!("it ended"),
            () = steps => {}
        }
    }
}
