//! kill -9 of `shoal serve` in the middle of writes, again and again: what was acked is there after the restart, and
//! what was acked as deleted is not.
//!
//! Each writer owns its points and writes one batch at a time, so for every point it knows the last acked state and, at
//! most, one that was on its way when the process died. Either may be found; anything else is a loss.
//!
//! Rounds take turns at when the process dies: at any time; while it opens; while a segment is written, by a flush or a
//! compaction; when a manifest was replaced, with the log still to be trimmed; when merged segments are being deleted.
//!
//! `SHOAL_CRASH_ROUNDS` sets the number of rounds, `SHOAL_CRASH_SEED` repeats a run.

#![allow(clippy::disallowed_methods, reason = "tests measure and wait")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{Shoal, free_port, until_ready};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

const WRITERS: u64 = 4;
const POINTS_PER_WRITER: u64 = 2_000;
const BATCH: u64 = 8;

/// What a point may be after a restart. `None`: it is not there.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    acked: Option<u64>,
    on_its_way: Option<Option<u64>>,
}

/// A writer and all it knows, over all rounds.
struct Writer {
    rng: StdRng,
    first: u64,
    revision: u64,
    acks: u64,
    points: BTreeMap<u64, Expected>,
}

impl Writer {
    fn new(index: u64, seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed.wrapping_add(index));
        Self {
            rng,
            first: index * POINTS_PER_WRITER,
            revision: 0,
            acks: 0,
            points: BTreeMap::new(),
        }
    }

    /// Writes batches until the server is gone.
    async fn run(&mut self, client: &reqwest::Client, base: &str) {
        loop {
            let start = self.first + self.rng.random_range(0..POINTS_PER_WRITER - BATCH);
            let ids: Vec<u64> = (start..start + BATCH).collect();
            let wait = self.rng.random_bool(0.5);
            self.revision += 1;
            let delete = self.rng.random_bool(0.15);
            let becomes = (!delete).then_some(self.revision);
            for id in &ids {
                self.points.entry(*id).or_default().on_its_way = Some(becomes);
            }
            let request = match delete {
                true => client
                    .post(format!("{base}/points/delete?wait={wait}"))
                    .json(&json!({ "points": ids })),
                false => client.put(format!("{base}/points?wait={wait}")).json(
                    &json!({ "points": ids.iter().map(|id| self.point(*id)).collect::<Vec<_>>() }),
                ),
            };
            let Ok(answer) = request.send().await else { return };
            if !answer.status().is_success() {
                let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
                panic!("a write was refused with {status}: {text}");
            }
            self.acks += ids.len() as u64;
            for id in &ids {
                self.points.insert(*id, Expected { acked: becomes, on_its_way: None });
            }
        }
    }

    fn point(&self, id: u64) -> Value {
        let vector: Vec<f64> =
            (0..8).map(|d| ((id * 31 + d * 17 + self.revision) % 101) as f64 / 7.0).collect();
        json!({"id": id, "vector": vector, "payload": {"revision": self.revision, "text": "x".repeat(64)}})
    }

    /// Compares all points with what the server has; settles what was on its way. The number of losses.
    fn check(&mut self, stored: &BTreeMap<u64, u64>) -> u64 {
        let mut lost = 0;
        for (id, expected) in &mut self.points {
            let found = stored.get(id).copied();
            if found != expected.acked && Some(found) != expected.on_its_way {
                eprintln!("point {id}: found {found:?}, expected {expected:?}");
                lost += 1;
            }
            *expected = Expected { acked: found, on_its_way: None };
        }
        lost
    }
}

/// Every point of the collection and its revision, page by page.
async fn stored(client: &reqwest::Client, base: &str) -> BTreeMap<u64, u64> {
    let (mut all, mut offset) = (BTreeMap::new(), Value::Null);
    loop {
        let body = json!({"limit": 1000, "offset": offset, "with_payload": ["revision"]});
        let answer = client.post(format!("{base}/points/scroll")).json(&body).send().await.unwrap();
        let page: Value = answer.json().await.unwrap();
        for point in page["result"]["points"].as_array().unwrap_or_else(|| panic!("{page}")) {
            all.insert(
                point["id"].as_u64().unwrap(),
                point["payload"]["revision"].as_u64().unwrap(),
            );
        }
        offset = page["result"]["next_page_offset"].clone();
        if offset.is_null() {
            return all;
        }
    }
}

async fn create(client: &reqwest::Client, base: &str) {
    let body = json!({"vectors": {"size": 8, "distance": "Dot"}, "shard_number": 2});
    let answer = client.put(base).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

fn seed() -> u64 {
    let set = std::env::var("SHOAL_CRASH_SEED")
        .ok()
        .map(|text| text.parse().expect("SHOAL_CRASH_SEED is a number"));
    set.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64)
}

fn start(data: &std::path::Path, address: SocketAddr) -> Shoal {
    let (folder, listen) = (data.join("data"), address.to_string());
    // Few enough that flushes are always under way when the process dies.
    let args =
        ["serve", "--data", folder.to_str().unwrap(), "--listen", &listen, "--flush-points", "400"];
    Shoal::start(&args, &data.join("log"))
}

/// When the process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Any,
    Opening,
    SegmentUnfinished,
    ManifestReplaced,
    SegmentDeleted,
}

impl Moment {
    const ALL: [Moment; 5] = [
        Moment::Any,
        Moment::SegmentUnfinished,
        Moment::Opening,
        Moment::ManifestReplaced,
        Moment::SegmentDeleted,
    ];
}

/// Names under a folder, with inodes, as far as they can be seen while files come and go.
fn names(folder: &Path, found: &mut BTreeSet<(PathBuf, u64)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && entry.file_name() != "store" => {
                names(&entry.path(), found);
            }
            _ => drop(found.insert((entry.path(), entry.ino()))),
        }
    }
}

/// Waits until a shard below the folder is at this moment. Whether it came, within a few seconds.
async fn reached(moment: Moment, folder: &Path) -> bool {
    let ends = |path: &Path, ending: &str| path.to_string_lossy().ends_with(ending);
    let mut before = BTreeSet::new();
    names(folder, &mut before);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        let mut now = BTreeSet::new();
        names(folder, &mut now);
        let is_there = |path: &PathBuf| now.iter().any(|(there, _)| there == path);
        let came = match moment {
            Moment::SegmentUnfinished => now.iter().any(|(path, _)| ends(path, ".seg.tmp")),
            Moment::ManifestReplaced => {
                now.iter().any(|file| ends(&file.0, "/manifest") && !before.contains(file))
            }
            Moment::SegmentDeleted => {
                before.iter().any(|(path, _)| ends(path, ".seg") && !is_there(path))
            }
            Moment::Any | Moment::Opening => false,
        };
        if came {
            return true;
        }
        // Segments that came since may be deleted too.
        before.extend(now.into_iter().filter(|(path, _)| ends(path, ".seg")));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    false
}

/// The same for all moments: what the kill that comes next is counted as.
async fn reached_or_any(moment: Moment, folder: &Path) -> Moment {
    match moment {
        Moment::Any | Moment::Opening => Moment::Any,
        awaited if reached(awaited, folder).await => awaited,
        _ => Moment::Any,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acked_is_lost_when_the_server_is_killed_under_writes() {
    let rounds: u64 = std::env::var("SHOAL_CRASH_ROUNDS")
        .map_or(50, |text| text.parse().expect("SHOAL_CRASH_ROUNDS is a number"));
    let seed = seed();
    eprintln!("SHOAL_CRASH_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let address = free_port();
    let base = format!("http://{address}/collections/crash");
    let mut writers: Vec<Writer> = (0..WRITERS).map(|index| Writer::new(index, seed)).collect();
    let (mut lost, mut opening) = (0, Duration::from_millis(50));
    let mut kills: BTreeMap<Moment, u64> = BTreeMap::new();
    for round in 0..=rounds {
        let moment = Moment::ALL[round as usize % Moment::ALL.len()];
        if moment == Moment::Opening {
            // Twice, since it may die while it recovers from that.
            for _ in 0..2 {
                let server = start(folder.path(), address);
                tokio::time::sleep(opening.mul_f64(rng.random_range(0.0..1.0))).await;
                server.kill();
                *kills.entry(moment).or_default() += 1;
            }
        }
        let begun = Instant::now();
        let mut server = start(folder.path(), address);
        until_ready(&mut server, address).await;
        opening = begun.elapsed();
        // A client of its own each round: connections to the process before are dead.
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        if round == 0 {
            create(&client, &base).await;
        }
        let found = stored(&client, &base).await;
        lost += writers.iter_mut().map(|writer| writer.check(&found)).sum::<u64>();
        let known: u64 = writers
            .iter()
            .map(|w| w.points.values().filter(|p| p.acked.is_some()).count() as u64)
            .sum();
        assert_eq!(found.len() as u64, known, "points that nobody wrote");
        if round == rounds {
            break;
        }
        let mut tasks = Vec::new();
        for mut writer in writers.drain(..) {
            let (client, base) = (client.clone(), base.clone());
            tasks.push(tokio::spawn(async move {
                writer.run(&client, &base).await;
                writer
            }));
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(20..600))).await;
        let came = reached_or_any(moment, folder.path()).await;
        server.kill();
        *kills.entry(came).or_default() += 1;
        for task in tasks {
            writers.push(task.await.unwrap());
        }
    }
    let acked: u64 = writers.iter().map(|writer| writer.acks).sum();
    println!("rounds {rounds}, acked {acked}, lost {lost}, kills {kills:?}");
    assert!(acked > rounds, "the writers hardly wrote");
    assert_eq!(lost, 0, "SHOAL_CRASH_SEED={seed}");
    // In as many rounds as these, each moment comes.
    let all = rounds < 50 || Moment::ALL.iter().all(|moment| kills.contains_key(moment));
    assert!(all, "no kill at some moment: {kills:?}");
}
