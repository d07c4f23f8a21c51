//! What the operator builds is what the data plane understands: its command lines, its token, its protocol.

use clap::Parser;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec, Secret};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use shoal_crds::{Shard, VectorCollection};
use shoal_node::cmd::{Cli, Command};
use shoal_proto::PROTOCOL_VERSION;
use shoal_proto::auth::Token;
use shoal_proto::pb::shard_service_client::ShardServiceClient;
use shoal_proto::pb::{Target, WriteRequest};
use shoal_vector::{Op, Point, PointId};
use tonic::transport::Endpoint;

use crate::world::World;

/// An address of this machine alone that nothing else uses.
const ADDRESS: &str = "127.0.7.7";

/// A container's command line, with some flags set otherwise.
fn command_line(template: &PodTemplateSpec, otherwise: &[(&str, String)]) -> Vec<String> {
    let container = &template.spec.as_ref().expect("a pod").containers[0];
    let mut words = vec!["shoal".to_owned()];
    words.extend(container.args.clone().expect("arguments"));
    for (flag, value) in otherwise {
        let at = words.iter().position(|word| word == flag).expect("a flag the operator gives");
        words[at + 1].clone_from(value);
    }
    words
}

#[tokio::test]
async fn routers_understand_their_command_line() {
    let Some(world) = World::new("sizes-router").await else { return };
    world.collection("c", json!({})).await;
    let deployment: Deployment = world.exists("shoal").await;
    let words = command_line(&deployment.spec.expect("a spec").template, &[]);
    let Command::Router(args) = Cli::try_parse_from(&words).expect("understood").command else {
        panic!("no router: {words:?}")
    };
    assert_eq!(args.namespace.as_deref(), Some("sizes-router"));
    assert_eq!(args.listen.port(), 6333);
    assert!(args.clients.api_key_file.is_some(), "a key is asked for by default");
}

#[tokio::test]
async fn a_real_shard_started_as_the_operator_says_is_asked_for_its_size() {
    let Some(world) = World::new("sizes-shard").await else { return };
    let tuned = json!({"name": "my shard", "vectors": [
        {"size": 4, "distance": "Dot", "index": {"ef": 77, "efConstruct": 55},
         "quantization": "Int8"}]});
    world.serving("c", 1, tuned).await;
    let secret: Secret = world.exists("shoal-internal").await;
    let token = String::from_utf8(secret.data.expect("data")["token"].0.clone()).expect("text");
    let disk = tempfile::tempdir().expect("a folder");
    std::fs::write(disk.path().join("token"), &token).expect("written");

    let set: StatefulSet = world.exists("c-0-r0").await;
    let words = command_line(
        &set.spec.expect("a spec").template,
        &[
            ("--data", disk.path().join("data").display().to_string()),
            ("--listen", format!("{ADDRESS}:6335")),
            ("--admin-listen", format!("{ADDRESS}:0")),
            ("--token-file", disk.path().join("token").display().to_string()),
        ],
    );
    std::fs::create_dir(disk.path().join("data")).expect("a disk");
    let command = Cli::try_parse_from(&words).expect("understood").command;
    let Command::Shard(args) = &command else { panic!("no shard: {words:?}") };
    assert_eq!((args.collection.as_str(), args.ef, args.ef_construct), ("my shard", 77, 55));
    assert_eq!(args.quantization.name(), "Int8");
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(shoal_node::cmd::run(command))
    });
    let status = json!({"status": {"podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}]}});
    let params = PatchParams::default();
    world
        .api::<Pod>()
        .patch_status("c-0-r0-0", &params, &Patch::Merge(&status))
        .await
        .expect("an address");

    let has = |points: i64| {
        move |c: &VectorCollection| c.status.as_ref().and_then(|s| s.points) == Some(points)
    };
    world.until("c", "is known to be empty", has(0)).await;
    write(&token, 1234).await;
    let collection: VectorCollection = world.until("c", "has its points, rounded", has(1200)).await;
    assert!(collection.status.and_then(|status| status.disk_bytes).is_some_and(|bytes| bytes > 0));
    let told = |shard: &Shard| shard.status.as_ref().and_then(|status| status.points) == Some(1200);
    world.until("c-0", "tells the same", told).await;
}

/// Writes points as a router would.
async fn write(token: &str, count: u64) {
    let endpoint = Endpoint::from_shared(format!("http://{ADDRESS}:6335")).expect("an address");
    let channel = endpoint.connect().await.expect("connected");
    let mut client =
        ShardServiceClient::with_interceptor(channel, Token::parse(token).expect("a token"));
    let point = |id| Point {
        id: PointId::Num(id),
        vectors: vec![(String::new(), vec![1.0, 0.0, 0.0, 0.0])],
        payload: Vec::new(),
    };
    let op = Op::Upsert((0..count).map(point).collect());
    let target = Target {
        version: PROTOCOL_VERSION,
        collection: "my shard".into(),
        shard: "c-0".into(),
        r#gen: 1,
        ..Target::default()
    };
    let request = WriteRequest {
        target: Some(target),
        op: shoal_shard::encode_op(&op).into(),
        wait: true,
        ..WriteRequest::default()
    };
    client.write(request).await.expect("written");
}
