//! The main job: apply a collection, load it, search it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use shoal_e2e::cluster::{Cluster, until};
use shoal_e2e::figures::{nearest, note, percentile, recall};
use shoal_e2e::namespace::Namespace;
use shoal_e2e::qdrant::{Qdrant, upsert_body};
use shoal_e2e::sample::{self, Row};

use crate::{START, collection, serve};

/// Points of one upsert request, and requests under way at a time.
const BATCH: usize = 200;
const AT_A_TIME: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn an_applied_collection_becomes_ready_and_finds_what_an_exact_search_finds() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster
        .with_namespace("serving", |namespace| async move {
            let collection = Namespace::sample("vectorcollection.yaml")?;
            namespace.apply(&collection).await?;
            let ready = namespace.ready("wordnet", START).await?;
            note(&format!(
                "Ready {:.1} s after apply (2 shards, 2 routers, new namespace)",
                ready.as_secs_f64()
            ));
            let router = namespace.router().await?;

            let rows = Arc::new(sample::points()?);
            let took = load_all(&router.client, "wordnet", &rows).await?;
            let speed = rows.len() as f64 / took.as_secs_f64();
            note(&format!(
                "{} vectors through the router in {:.1} s: {speed:.0} vectors/s",
                rows.len(),
                took.as_secs_f64()
            ));
            ensure!(
                router.client.count("wordnet").await? == rows.len() as u64,
                "points are missing"
            );

            exact_is_exact(&router.client, &rows).await?;
            recall_and_latency(&router.client, "wordnet").await
        })
        .await
}

/// More points than a shard keeps in memory before it builds a graph of them.
const GRAPH_POINTS: u64 = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_finds_what_an_exact_search_finds() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster
        .with_namespace("graph", |namespace| async move {
            let router = serve(&namespace, &collection("graph", 1)?).await?;
            let mut rows = sample::points()?;
            rows.extend(between(&rows));
            load_all(&router.client, "graph", &rows).await?;
            until("a graph of the points", START, || async {
                let info = router.client.ask("GET", "/collections/graph", None).await?.body;
                Ok((info["result"]["indexed_vectors_count"].as_u64() >= Some(GRAPH_POINTS))
                    .then_some(()))
            })
            .await?;
            ensure!(router.client.count("graph").await? == rows.len() as u64, "points are missing");
            recall_and_latency(&router.client, "graph").await
        })
        .await
}

/// A further point between each row and the next but one hundred, so that there are enough without repeating any.
fn between(rows: &[Row]) -> Vec<Row> {
    let shifted = rows.iter().cycle().skip(100);
    let middle = |(a, b): (&Row, &Row)| Row {
        vector: a.vector.iter().zip(&b.vector).map(|(a, b)| a + b).collect(),
        payload: a.payload.clone(),
    };
    // A few more than fit, so that the last of them are searched beside the graph.
    rows.iter()
        .zip(shifted)
        .map(middle)
        .chain(rows.iter().zip(rows.iter().skip(7)).map(middle).take(200))
        .collect()
}

async fn load_all(client: &Qdrant, collection: &str, rows: &[Row]) -> Result<Duration> {
    // The router learns of the collection by watching, a moment after it is Ready.
    until("the router to serve the collection", START, || async {
        client.count(collection).await.map(Some)
    })
    .await?;
    let bodies: Vec<String> = (0..)
        .step_by(BATCH)
        .zip(rows.chunks(BATCH))
        .map(|(first, rows)| upsert_body(&(first..).zip(rows).collect::<Vec<_>>()))
        .collect();
    let began = Instant::now();
    let requests = bodies.into_iter().map(|body| client.upsert_text(collection, body));
    stream::iter(requests).buffer_unordered(AT_A_TIME).try_collect::<Vec<_>>().await?;
    Ok(began.elapsed())
}

/// `exact: true` finds what a plain loop over all vectors finds.
async fn exact_is_exact(client: &Qdrant, rows: &[Row]) -> Result<()> {
    for query in sample::queries()?.iter().take(5) {
        let truth =
            nearest((0..).zip(rows).map(|(id, row)| (id, &row.vector[..])), &query.vector, 10);
        let answer = client.nearest("wordnet", &query.vector, 10, true).await?;
        ensure!(recall(&answer.ids(), &truth) >= 0.9, "exact {:?}, truth {truth:?}", answer.ids());
    }
    Ok(())
}

async fn recall_and_latency(client: &Qdrant, collection: &str) -> Result<()> {
    let (mut recalls, mut times) = (Vec::new(), Vec::new());
    let queries = sample::queries()?;
    for query in &queries {
        let truth = client.nearest(collection, &query.vector, 10, true).await?;
        let began = Instant::now();
        let answer = client.nearest(collection, &query.vector, 10, false).await?;
        times.push(began.elapsed());
        ensure!(answer.missing().is_empty(), "a partial answer: {:?}", answer.missing());
        ensure!(answer.ids().len() == 10, "{} hits of 10", answer.ids().len());
        recalls.push(recall(&answer.ids(), &truth.ids()));
    }
    let mean = recalls.iter().sum::<f64>() / recalls.len() as f64;
    let milliseconds =
        |percent| percentile(&times, percent).unwrap_or_default().as_secs_f64() * 1000.0;
    let info = client.ask("GET", &format!("/collections/{collection}"), None).await?.body;
    note(&format!(
        "recall@10 {mean:.4}, p50 {:.2} ms, p99 {:.2} ms ({} searches, one at a time, default settings; {} points, {} of \
         them in a graph)",
        milliseconds(50.0),
        milliseconds(99.0),
        queries.len(),
        info["result"]["points_count"],
        info["result"]["indexed_vectors_count"],
    ));
    ensure!(mean >= 0.95, "recall@10 is {mean:.4}, less than 0.95");
    Ok(())
}
