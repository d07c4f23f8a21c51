//! A release's life on an API server of its own: installed, upgraded, uninstalled, installed again over what is kept.

use std::process::Command;

use shoal_e2e::apiserver::ApiServer;

use crate::helm::{CHART, run, server};

const COLLECTION: &str = r#"{"apiVersion": "shoal.dev/v1alpha1", "kind": "VectorCollection",
    "metadata": {"name": "kept"}, "spec": {"vectors": [{"size": 4, "distance": "Cosine"}]}}"#;

fn helm(server: &ApiServer, verb: &str, arguments: &[&str]) -> Command {
    let mut helm = server.program("helm");
    helm.args([verb, "shoal"]).args(arguments).args(["--namespace", "shoal-system"]);
    // Helm keeps caches and settings below its home, which a test must not touch.
    helm.env("HELM_CACHE_HOME", "/nonexistent").env("HELM_CONFIG_HOME", "/nonexistent");
    helm
}

#[tokio::test]
async fn collections_and_definitions_outlive_the_release_and_are_taken_up_by_the_next() {
    if server().await.is_none() {
        return;
    }
    let Some(server) = ApiServer::start_unless_missing().await else { return };
    let get = |what: &[&str]| run(server.kubectl().arg("get").args(what).args(["-o", "name"]));

    let notes =
        run(&mut helm(&server, "install", &[CHART, "--create-namespace"])).expect("installs");
    assert!(notes.contains("kubectl wait --for=condition=Ready"), "{notes}");
    let wait = ["wait", "--for=condition=Established", "crd", "--all"];
    run(server.kubectl().args(wait)).expect("served");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("collection.json");
    std::fs::write(&file, COLLECTION).expect("writes");
    run(server.kubectl().args(["apply", "-f"]).arg(&file)).expect("accepted");

    let upgrade = [CHART, "--set", "replicas=2"];
    run(&mut helm(&server, "upgrade", &upgrade)).expect("upgrades");
    let budget = ["poddisruptionbudget", "-n", "shoal-system"];
    assert!(get(&budget).expect("lists").contains("shoal-operator"));

    run(&mut helm(&server, "uninstall", &[])).expect("uninstalls");
    assert_eq!(get(&["deployment", "-n", "shoal-system"]).as_deref(), Ok(""));
    assert_eq!(get(&["clusterrole", "-l", "app.kubernetes.io/part-of=shoal"]).as_deref(), Ok(""));
    assert_eq!(get(&["vc"]).as_deref(), Ok("vectorcollection.shoal.dev/kept\n"));

    run(&mut helm(&server, "install", &[CHART])).expect("installs over what is kept");
    assert_eq!(get(&["vc"]).as_deref(), Ok("vectorcollection.shoal.dev/kept\n"));
}

#[tokio::test]
async fn it_installs_where_the_definitions_were_applied_without_helm() {
    if server().await.is_none() {
        return;
    }
    let Some(server) = ApiServer::start_unless_missing().await else { return };
    server.install_definitions().await.expect("definitions");
    let refused = run(&mut helm(&server, "install", &[CHART, "--create-namespace"]))
        .expect_err("not its own");
    assert!(refused.contains("invalid ownership metadata"), "{refused}");
    let without = [CHART, "--create-namespace", "--set", "crds.install=false"];
    run(&mut helm(&server, "install", &without)).expect("installs beside them");
    run(&mut helm(&server, "uninstall", &[])).expect("uninstalls");
    run(&mut helm(&server, "install", &[CHART, "--take-ownership"])).expect("takes them over");
}
