//! Of several operators one acts, and another goes on where it stopped.

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::json;
use shoal_crds::Shard;
use shoal_e2e::apiserver::ApiServer;

use crate::world::{HOME, Operator, World, eventually, prepare};

#[tokio::test]
async fn another_operator_stands_by_and_goes_on_at_once_when_the_first_is_stopped() {
    let Some(server) = ApiServer::start_unless_missing().await else { return };
    let kubeconfig = prepare(&server).await;
    let world = World::on(&server, "leader").await;
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), HOME);
    let holder = |name: &'static str| {
        let leases = leases.clone();
        async move {
            eventually(&format!("{name} leads"), || async {
                let lease =
                    leases.get_opt("shoal-operator").await.map_err(|error| error.to_string())?;
                let holder =
                    lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
                if holder.starts_with(name) { Ok(()) } else { Err(holder) }
            })
            .await;
        }
    };
    let first =
        Operator::start(kubeconfig.clone(), |settings| settings.identity = Some("first".into()));
    holder("first").await;
    let second = Operator::start(kubeconfig, |settings| {
        settings.identity = Some("second".into());
        // Were the Lease not given back, this test would wait for longer than its patience.
        settings.lease_seconds = 600;
    });
    world.collection("one", json!({})).await;
    world.exists::<Shard>("one-0").await;
    first.stop().expect("ends well");
    holder("second").await;
    world.collection("two", json!({})).await;
    world.exists::<Shard>("two-0").await;
    second.stop().expect("ends well");
    let lease = leases.get("shoal-operator").await.expect("a Lease");
    assert_eq!(lease.spec.and_then(|spec| spec.holder_identity), None, "it is given back");
}
