//! The register in a Shard object against a real API server: who else writes the object, who swaps first, and what is said
//! when the outcome is not known.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Config, ResourceExt};
use serde_json::json;
use shoal_consensus::{
    CasOutcome, DiskId, Epoch, Identity, Incarnation, Members, Phase, Register, Version,
};
use shoal_crds::shard::Placement;
use shoal_crds::{Shard, ShardSpec, labels};
use shoal_e2e::apiserver::ApiServer;
use shoal_node::replica::register::kube::KubeRegister;
use shoal_node::replica::register::{Announced, RegisterError, RegisterStore, Stored};

const NAME: &str = "c-0";

struct World {
    namespace: String,
    config: Config,
    objects: Api<Shard>,
    register: KubeRegister,
}

/// A namespace of its own.
async fn world(server: &ApiServer, test: &str) -> World {
    server.install_definitions().await.unwrap();
    let client = server.client().await.unwrap();
    let namespace = server.namespace(test).await.unwrap();
    let config = Kubeconfig::read_from(server.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
    let config = config.unwrap();
    let register = store(&config, &namespace);
    World { objects: Api::namespaced(client, &namespace), namespace, config, register }
}

fn store(config: &Config, namespace: &str) -> KubeRegister {
    KubeRegister::with_config(config.clone(), Some(namespace.to_owned()), NAME).unwrap()
}

impl World {
    async fn create(&self) -> Shard {
        let spec = ShardSpec {
            collection: "c".to_owned(),
            placement: Placement { generation: 1, slots: "0-16383".to_owned() },
            replicas: 3,
            image: "i".to_owned(),
            ..ShardSpec::default()
        };
        self.objects.create(&PostParams::default(), &Shard::new(NAME, spec)).await.unwrap()
    }

    /// Writes what the operator writes, as it does.
    async fn operate(&self, points: i64) {
        let object = self.objects.get(NAME).await.unwrap();
        let body = json!({
            "apiVersion": "shoal.dev/v1alpha1",
            "kind": "Shard",
            "metadata": {"name": NAME, "resourceVersion": object.resource_version(), "uid": object.uid()},
            "status": {"points": points},
        });
        let params = PatchParams::apply(labels::MANAGER).force();
        self.objects.patch_status(NAME, &params, &Patch::Apply(&body)).await.unwrap();
    }

    async fn stored(&self) -> Option<Stored> {
        self.register.read().await.unwrap().stored
    }
}

fn electing(number: u64) -> Register {
    let members = Members::majority(1, vec![DiskId(1), DiskId(2), DiskId(u128::MAX)]).unwrap();
    Register { epoch: Epoch { number, nonce: u64::MAX - number }, ..Register::first(members) }
}

fn stable(number: u64) -> Register {
    let primary = Identity { disk: DiskId(2), incarnation: Incarnation(u64::MAX) };
    Register { phase: Phase::Stable { primary }, ..electing(number) }
}

fn announced(name: &str, blank: bool) -> Announced {
    let disk = DiskId(u128::MAX - u128::from(name.len() as u64));
    Announced { name: name.to_owned(), disk, address: format!("{name}.svc:6335"), blank }
}

fn done(outcome: CasOutcome) -> Version {
    match outcome {
        CasOutcome::Done(version) => version,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_register_is_made_in_the_operators_object_and_changed_whatever_else_changes_there() {
    let Some(server) = ApiServer::shared().await else { return };
    let world = world(server, "register").await;
    let register = &world.register;
    assert_eq!(register.read().await.unwrap(), Default::default());
    assert_eq!(register.swap(None, &electing(1)).await, CasOutcome::Conflict, "no object is made");
    let early = register.announce(&announced("r0", true)).await;
    assert!(matches!(early, Err(RegisterError::Unreachable { .. })), "{early:?}");

    world.create().await;
    assert_eq!(world.stored().await, None);
    for name in ["r0", "r00"] {
        register.announce(&announced(name, true)).await.unwrap();
    }
    let first = done(register.swap(None, &electing(1)).await);
    assert_eq!(register.swap(None, &electing(2)).await, CasOutcome::Conflict);
    world.operate(7).await;
    register.announce(&announced("r0", false)).await.unwrap();
    let second = done(register.swap(Some(&first), &stable(1)).await);
    assert_eq!(register.swap(Some(&first), &electing(3)).await, CasOutcome::Conflict);
    // It is what was wanted, so it may have been this that did it.
    assert_eq!(register.swap(Some(&first), &stable(1)).await, CasOutcome::Unknown);
    let third = done(register.swap(Some(&second), &electing(2)).await);

    let seen = register.read().await.unwrap();
    assert_eq!(seen.stored, Some(Stored { version: third, register: electing(2) }));
    assert_eq!(seen.announced, [announced("r0", false), announced("r00", true)]);
    world.operate(8).await;
    let status = world.objects.get(NAME).await.unwrap().status.unwrap();
    assert_eq!(status.points, Some(8), "the operator's part is the operator's");
    assert_eq!(status.register.unwrap().primary, None);
    assert_eq!(status.replicas.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_swaps_from_one_version_one_is_done_however_many_try() {
    let Some(server) = ApiServer::shared().await else { return };
    let world = world(server, "swaps").await;
    world.create().await;
    let tries = (0..3u64).map(|who| {
        let store = store(&world.config, &world.namespace);
        tokio::spawn(async move {
            let mut done = 0;
            while done < 10 {
                let stored = store.read().await.unwrap().stored;
                let (from, number) = match &stored {
                    Some(stored) => (Some(&stored.version), stored.register.epoch.number + 1),
                    None => (None, 1),
                };
                let mut wanted = electing(number);
                wanted.epoch.nonce = who;
                match store.swap(from, &wanted).await {
                    CasOutcome::Done(_) => done += 1,
                    CasOutcome::Conflict => {}
                    CasOutcome::Unknown => panic!("unknown"),
                }
                let name = "r".repeat(1 + who as usize);
                store.announce(&announced(&name, done % 2 == 0)).await.unwrap();
            }
        })
    });
    let tries: Vec<_> = tries.collect();
    for points in 0..10 {
        world.operate_if_it_can(points).await;
    }
    for tried in tries {
        tried.await.unwrap();
    }
    assert_eq!(world.stored().await.unwrap().register.epoch.number, 30);
    assert_eq!(world.register.read().await.unwrap().announced.len(), 3);
}

impl World {
    /// The same in a race.
    async fn operate_if_it_can(&self, points: i64) {
        let patch = Patch::Merge(json!({"status": {"points": points}}));
        let _ = self.objects.patch_status(NAME, &PatchParams::default(), &patch).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watch_follows_the_object_also_when_it_is_deleted_and_made_again() {
    let Some(server) = ApiServer::shared().await else { return };
    let world = world(server, "watched").await;
    let mut watch = world.register.watch();
    world.create().await;
    world.register.announce(&announced("r0", true)).await.unwrap();
    let version = done(world.register.swap(None, &stable(1)).await);
    let now = Stored { version: version.clone(), register: stable(1) };
    watch.wait_for(|seen| seen.stored.as_ref() == Some(&now)).await.unwrap();
    assert_eq!(watch.borrow().announced, [announced("r0", true)]);
    // A version that was only watched is one that may be swapped from.
    world.operate(5).await;
    let seen = watch.wait_for(|seen| seen.stored.as_ref().unwrap().version != version).await;
    let watched = seen.unwrap().stored.clone().unwrap().version;
    done(world.register.swap(Some(&watched), &electing(2)).await);

    world.objects.delete(NAME, &DeleteParams::default()).await.unwrap();
    watch.wait_for(|seen| seen.stored.is_none() && seen.announced.is_empty()).await.unwrap();
    assert_eq!(world.stored().await, None);
    assert_eq!(world.register.swap(Some(&version), &electing(3)).await, CasOutcome::Conflict);
    world.create().await;
    assert_eq!(world.register.swap(Some(&version), &electing(3)).await, CasOutcome::Conflict);
    done(world.register.swap(None, &electing(9)).await);
    let is_new = |number| move |stored: &Stored| stored.register.epoch.number == number;
    watch.wait_for(|seen| seen.stored.as_ref().is_some_and(is_new(9))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_register_that_was_put_back_is_not_swapped_from_a_version_of_before() {
    let Some(server) = ApiServer::shared().await else { return };
    let world = world(server, "back").await;
    world.create().await;
    let first = done(world.register.swap(None, &stable(1)).await);
    let before = world.objects.get(NAME).await.unwrap().status.unwrap().register;
    let second = done(world.register.swap(Some(&first), &electing(2)).await);
    let patch = Patch::Merge(json!({"status": {"register": before}}));
    world.objects.patch_status(NAME, &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(world.register.swap(Some(&second), &stable(2)).await, CasOutcome::Conflict);
    done(world.register.swap(Some(&first), &electing(3)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_was_not_blank_is_not_blank_again_and_another_is() {
    let Some(server) = ApiServer::shared().await else { return };
    let world = world(server, "blank").await;
    world.create().await;
    let register = &world.register;
    register.announce(&announced("r0", false)).await.unwrap();
    register.announce(&announced("r1", true)).await.unwrap();
    let moved = Announced { address: "elsewhere:1".to_owned(), ..announced("r0", true) };
    register.announce(&moved).await.unwrap();
    let seen = register.read().await.unwrap().announced;
    assert_eq!(seen, [moved.not_blank(), announced("r1", true)]);
    let wiped = Announced { disk: DiskId(3), ..announced("r0", true) };
    register.announce(&wiped).await.unwrap();
    assert_eq!(register.read().await.unwrap().announced[0], wiped);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_register_is_refused_by_the_api_server() {
    let Some(server) = ApiServer::shared().await else { return };
    let world = world(server, "refused").await;
    world.create().await;
    done(world.register.swap(None, &electing(1)).await);
    for (path, value) in [
        ("/status/register/epoch", json!("-1")),
        ("/status/register/nonce", json!("xyz")),
        ("/status/register/phase", json!("Leading")),
        ("/status/register/members/voters", json!([])),
        ("/status/register/members/writeQuorum", json!(0)),
        ("/status/replicas", json!([{"name": "r0", "diskId": "1", "address": "a", "blank": true}])),
    ] {
        let patch = serde_json::from_value(json!([{"op": "add", "path": path, "value": value}]));
        let patch = Patch::Json::<()>(patch.unwrap());
        let refused = world.objects.patch_status(NAME, &PatchParams::default(), &patch).await;
        assert!(matches!(refused, Err(kube::Error::Api(s)) if s.code == 422), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_api_is_gone_outcomes_are_unknown_and_the_watch_keeps_what_it_saw() {
    let Some(server) = ApiServer::start_unless_missing().await else { return };
    let world = world(&server, "gone").await;
    world.create().await;
    let version = done(world.register.swap(None, &stable(1)).await);
    let mut watch = world.register.watch();
    watch.wait_for(|seen| seen.stored.is_some()).await.unwrap();
    drop(server);
    assert_eq!(world.register.swap(Some(&version), &electing(2)).await, CasOutcome::Unknown);
    let read = world.register.read().await;
    assert!(matches!(read, Err(RegisterError::Unreachable { .. })), "{read:?}");
    assert!(world.register.announce(&announced("r0", true)).await.is_err());
    assert_eq!(watch.borrow_and_update().stored.as_ref().unwrap().register, stable(1));
}
