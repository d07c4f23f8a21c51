//! The API server that other tests stand on: it answers, it ends with its owner, it leaves nothing behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::{Api, ResourceExt};
use shoal_e2e::apiserver::ApiServer;

#[tokio::test]
async fn it_answers_and_is_gone_with_its_files_once_dropped() {
    let Some(server) = ApiServer::start_unless_missing().await else { return };
    let client = server.client().await.expect("a client");
    Api::<Namespace>::all(client.clone()).get("default").await.expect("answers");
    let folder = server.kubeconfig().parent().expect("a folder").to_owned();
    drop(server);
    assert!(!folder.exists(), "{} is left behind", folder.display());
    assert!(Api::<Namespace>::all(client).get("default").await.is_err(), "it still answers");
}

#[tokio::test]
async fn a_service_accounts_client_has_only_its_rights() {
    let Some(server) = ApiServer::shared().await else { return };
    let namespace = server.namespace("rights").await.expect("a namespace");
    let account = ServiceAccount {
        metadata: ObjectMeta { name: Some("nobody".to_owned()), ..ObjectMeta::default() },
        ..ServiceAccount::default()
    };
    let accounts =
        Api::<ServiceAccount>::namespaced(server.client().await.expect("a client"), &namespace);
    accounts.create(&PostParams::default(), &account).await.expect("makes the account");
    let client = server.client_of(&namespace, "nobody").await.expect("a client");
    let refused =
        Api::<ServiceAccount>::namespaced(client, &namespace).list(&ListParams::default()).await;
    let message = refused
        .map(|all| all.items.iter().map(|one| one.name_any()).collect::<Vec<_>>())
        .unwrap_err();
    assert!(
        message.to_string().contains(&format!("system:serviceaccount:{namespace}:nobody")),
        "{message}"
    );
}

#[tokio::test]
async fn it_counts_requests() {
    let Some(server) = ApiServer::shared().await else { return };
    assert!(server.metrics().await.expect("metrics").contains("apiserver_request_total"));
}

/// Set in a process that is to hold a server until it is killed.
const HOLD: &str = "SHOAL_HOLD_API_SERVER";

#[tokio::test]
async fn it_ends_with_a_process_that_is_killed() {
    if std::env::var_os(HOLD).is_some() {
        let server = ApiServer::start().await.expect("starts");
        println!("\nheld in {}", server.kubeconfig().parent().expect("a folder").display());
        return std::future::pending().await;
    }
    if ApiServer::shared().await.is_none() {
        return;
    }
    let mut holder = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "it_ends_with_a_process_that_is_killed", "--nocapture"])
        .env(HOLD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(holder.stdout.take().expect("its output")).lines();
    let folder = lines.find_map(|line| line.ok()?.strip_prefix("held in ").map(str::to_owned));
    holder.kill().expect("killed");
    holder.wait().expect("ended");
    let folder = folder.expect("it started");
    for _ in 0..300 {
        if !Path::new(&folder).exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{folder} is left behind");
}
