//! Wrong input: a condition and an event, or a 4xx, that say what to do; what is right is not disturbed.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use serde_json::json;
use shoal_crds::conditions::reason;
use shoal_crds::{VectorCollection, labels};
use shoal_e2e::cluster::{Cluster, until};
use shoal_e2e::namespace::Namespace;
use shoal_e2e::qdrant::Qdrant;

use crate::{START, collection, load, serve, whole_again};

/// Waits for a warning event about the collection with that reason.
async fn warned(namespace: &Namespace, collection: &str, reason: &str) -> Result<()> {
    until(&format!("an event {reason} about {collection}"), START, || async {
        let events = namespace.api::<Event>().list(&ListParams::default()).await?;
        let found = events.items.iter().any(|event| {
            event.involved_object.name.as_deref() == Some(collection)
                && event.reason.as_deref() == Some(reason)
                && event.type_.as_deref() == Some("Warning")
        });
        Ok(found.then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn specs_that_cannot_work_say_what_to_do_and_leave_others_alone() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster
        .with_namespace("refuse", |namespace| async move {
            let good = collection("good", 1)?;
            let router = serve(&namespace, &good).await?;
            let rows = load(&router.client, "good", 200).await?;

            let mut twin = collection("twin", 1)?;
            twin.spec.name = Some("good".into());
            namespace.apply(&twin).await?;
            let (why, message) = namespace.condition("twin", "Stalled", "True", START).await?;
            ensure!(why == reason::NAME_CONFLICT, "{why}: {message}");
            warned(&namespace, "twin", reason::NAME_CONFLICT).await?;

            let selector = format!("{}=twin", labels::COLLECTION);
            let pods =
                namespace.api::<Pod>().list(&ListParams::default().labels(&selector)).await?;
            ensure!(pods.items.is_empty(), "twin has pods");
            whole_again(&router.client, "good", &rows, 200).await?;

            // A refused change of a collection that serves: it goes on serving.
            namespace.apply(&collection("good", 3)?).await?;
            let (why, message) = namespace.condition("good", "Stalled", "True", START).await?;
            ensure!(why == reason::RESHARDING_UNSUPPORTED, "{why}: {message}");
            namespace.condition("good", "Ready", "True", START).await?;
            whole_again(&router.client, "good", &rows, 200).await?;
            namespace.apply(&good).await?;
            until("the condition to go", START, || async {
                let seen = namespace.api::<VectorCollection>().get("good").await?;
                let conditions = seen.status.context("no status")?.conditions;
                Ok(conditions
                    .iter()
                    .all(|c| c.type_ != "Stalled" || c.status != "True")
                    .then_some(()))
            })
            .await
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_get_an_answer_that_says_what_is_wrong() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster
        .with_namespace("wrong", |namespace| async move {
            let router = serve(&namespace, &collection("strict", 2)?).await?;
            let rows = load(&router.client, "strict", 200).await?;
            let stranger = Qdrant::new(&router.url, "")?.send("GET", "/collections", None).await?;
            ensure!(
                stranger.status == 401,
                "without a key: {} {}",
                stranger.status,
                stranger.error()
            );
            let guess =
                Qdrant::new(&router.url, "guess")?.send("GET", "/collections", None).await?;
            ensure!(guess.status == 401, "with a wrong key: {} {}", guess.status, guess.error());

            let long = "x".repeat(300);
            let points = "/collections/strict/points";
            let query = "/collections/strict/points/query";
            let wrong = [
                (
                    "PUT",
                    points.to_owned(),
                    json!({"points": [{"id": 1, "vector": [1.0, 2.0]}]}),
                    400,
                ),
                ("PUT", points.to_owned(), json!({"points": "none"}), 400),
                (
                    "PUT",
                    "/collections/unknown/points".into(),
                    json!({"points": [{"id": 1, "vector": [1.0]}]}),
                    404,
                ),
                ("POST", query.to_owned(), json!({"query": [1.0], "limit": 3}), 400),
                ("POST", query.to_owned(), json!({"query": rows[0].vector, "limit": 0}), 422),
                ("POST", format!("/collections/{long}/points/query"), json!({"query": [1.0]}), 404),
                (
                    "PUT",
                    format!("/collections/{long}"),
                    json!({"vectors": {"size": 4, "distance": "Dot"}}),
                    422,
                ),
            ];
            for (method, path, body, expected) in wrong {
                let answer = router.client.send(method, &path, Some(&body)).await?;
                // Qdrant itself is not of one mind about 400 and 422.
                let right = answer.status == expected
                    || (expected != 404 && matches!(answer.status, 400 | 422));
                ensure!(right, "{method} {path:.60}: {} {}", answer.status, answer.error());
                ensure!(!answer.error().is_empty(), "{method} {path:.60} says nothing");
            }
            whole_again(&router.client, "strict", &rows, 200).await
        })
        .await
}
