//! `shoal sample`: loads a folder of vectors and texts into a server and shows searches in it, through HTTP as any
//! client would.
//!
//! Invariant: running it again loads nothing twice; after an interrupted load it completes what is missing.

mod client;
mod data;
mod screen;
mod show;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use crate::clock;
use client::Client;
use data::Sample;
use screen::Screen;

/// Points sent at once: a megabyte or two of JSON, so that progress is seen and the server's limit is far.
const BATCH: usize = 250;
/// Batches on their way at a time, so that the server's next fsync has something to take with it.
const BATCHES_AT_ONCE: usize = 4;

/// Where to load what.
#[derive(Args, Clone, Debug)]
pub struct SampleArgs {
    /// The server.
    #[arg(long, env = "SHOAL_URL", default_value = "http://127.0.0.1:6333")]
    pub url: String,
    /// Its API key, if it asks for one.
    #[arg(long, env = "SHOAL_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Folder of the sample: vectors.f16.npy, points.jsonl.gz, queries.f16.npy, queries.jsonl.gz.
    #[arg(long, env = "SHOAL_SAMPLE_DATA", default_value = "config/samples/wordnet")]
    pub data: PathBuf,
    /// Collection to load it into; made if there is none.
    #[arg(long, env = "SHOAL_SAMPLE_COLLECTION", default_value = "wordnet")]
    pub collection: String,
}

impl SampleArgs {
    /// For a server in this process that listens at `address`.
    pub fn of_this_server(address: SocketAddr, api_key: Option<String>, data: PathBuf) -> Self {
        // A server that listens everywhere is reached on the loopback.
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let url = format!("http://{}", SocketAddr::new(ip, address.port()));
        Self { url, api_key, data, collection: "wordnet".to_owned() }
    }
}

/// Loads the sample where it is missing, and shows two searches in it.
pub async fn run(args: SampleArgs) -> anyhow::Result<()> {
    let folder = args.data.clone();
    let sample = tokio::task::spawn_blocking(move || Sample::read(&folder)).await??;
    let client = Client::new(&args.url, args.api_key.as_deref())?;
    let screen = Screen::new();
    let (rows, columns) = (sample.vectors.rows(), sample.vectors.columns());
    screen.say(&format!(
        "sample {}: {} points of {columns} dimensions",
        args.data.display(),
        screen::count(rows)
    ))?;
    prepare(&client, &args.collection, columns).await?;
    let there = client.count(&args.collection, rows).await?;
    match there == rows as u64 {
        true => {
            screen.say(&format!("collection {}: all points are there already", args.collection))?
        }
        false => load(&client, &screen, &args.collection, &sample).await?,
    }
    show::searches(&client, &screen, &args.collection, &sample).await?;
    show::what_next(&screen, &args)
}

/// Makes the collection, or checks that the one of this name takes such vectors.
async fn prepare(client: &Client, collection: &str, columns: usize) -> anyhow::Result<()> {
    let Some(info) = client.describe(collection).await? else {
        let vectors = json!({"vectors": {"size": columns, "distance": "Cosine"}});
        return client.create(collection, &vectors).await;
    };
    let vectors = &info["config"]["params"]["vectors"];
    if vectors["size"] != json!(columns) || vectors["distance"] != json!("Cosine") {
        bail!(
            "collection {collection} is there and holds other vectors ({vectors}; the sample's are {columns} x Cosine): \
             name another with --collection"
        );
    }
    Ok(())
}

async fn load(
    client: &Client,
    screen: &Screen,
    collection: &str,
    sample: &Sample,
) -> anyhow::Result<()> {
    let rows = sample.vectors.rows();
    let start = clock::now();
    let progress = screen.progress(rows);
    let batches = (0..rows).step_by(BATCH).map(|first| first..rows.min(first + BATCH));
    let sends = batches.map(|range| {
        let progress = &progress;
        async move {
            client.upsert(collection, &sample.points(range.clone())).await?;
            progress.add(range.len())
        }
    });
    let all =
        futures::stream::iter(sends).buffer_unordered(BATCHES_AT_ONCE).try_collect::<()>().await;
    progress.done();
    all.context("loading stopped; what was answered is kept: run it again to go on")?;
    let seconds = clock::now().saturating_duration_since(start).as_secs_f64();
    let rate = screen::count((rows as f64 / seconds.max(0.001)) as usize);
    screen
        .say(&format!("loaded {} points in {seconds:.1} s ({rate} points/s)", screen::count(rows)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_reached_on_the_loopback() {
        for (listens, url) in [
            ("0.0.0.0:6333", "http://127.0.0.1:6333"),
            ("[::]:6333", "http://[::1]:6333"),
            ("127.0.0.2:7", "http://127.0.0.2:7"),
        ] {
            assert_eq!(
                SampleArgs::of_this_server(listens.parse().unwrap(), None, PathBuf::new()).url,
                url
            );
        }
    }
}
