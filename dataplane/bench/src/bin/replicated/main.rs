//! Writes to a shard that is alone and to one of three replicas, in turns, each as processes with disks of their own.
//!
//! Prints one line of JSON for each turn: who was written to, how many clients wrote how many points at a time, points per
//! second, the times of a write in ms, and how much processor time all processes of the shard had for a point, in ms. A write is
//! answered once it is durable, on two of three disks, and visible. A turn begins once nobody makes segments of what was written
//! in the one before.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures and prints"
)]

mod processes;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use shoal_vector::{Op, Point, PointId};

use processes::{Client, Processes, request};

/// Dimensions of a vector.
const SIZE: usize = 384;
/// (clients, points of a write).
const LOADS: [(u64, u64); 3] = [(1, 1), (16, 1), (4, 100)];

#[derive(Parser)]
struct Arguments {
    /// The binary `shoal`.
    shoal: PathBuf,
    /// Folder for the disks, on what is to be measured.
    dir: PathBuf,
    /// Seconds of a turn.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Turns of each.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// With so many clients only.
    #[arg(long)]
    clients: Option<u64>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let wanted = |clients: u64| arguments.clients.is_none_or(|only| only == clients);
    for (clients, points) in LOADS.into_iter().filter(|(clients, _)| wanted(*clients)) {
        let mut shards = Vec::new();
        for (name, count) in [("alone", 1), ("replicated", 3)] {
            let folder = arguments.dir.join(format!("{name}-{clients}-{points}"));
            let processes = Processes::start(&arguments.shoal, &folder, count, SIZE)?;
            let client = processes.primary().await?;
            shards.push((name, client, processes));
        }
        for round in 0..=arguments.rounds {
            for (name, client, processes) in &shards {
                let all: Vec<_> = shards.iter().map(|(_, _, processes)| processes).collect();
                processes::settled(&all).await?;
                let end = Duration::from_secs(arguments.seconds);
                let before = processes.processor_ms()?;
                let (written, mut times) = load(client, round, clients, points, end).await?;
                let processor = (processes.processor_ms()? - before) as f64 / written as f64;
                times.sort_unstable();
                let at = |part: f64| times.get((times.len() as f64 * part) as usize);
                let ms = |part| at(part).map_or(0.0, |time: &Duration| time.as_secs_f64() * 1e3);
                // The first round is for connections and caches.
                if round > 0 {
                    let rate = written as f64 / end.as_secs_f64();
                    println!(
                        "{}",
                        json!({"who": name, "clients": clients, "points": points, "rate": rate,
                               "p50": ms(0.5), "p99": ms(0.99), "processor": processor})
                    );
                }
            }
        }
    }
    Ok(())
}

/// Points written in this time by so many clients, each with one write at a time, and the times of the writes.
async fn load(
    client: &Client,
    round: u64,
    clients: u64,
    points: u64,
    end: Duration,
) -> Result<(u64, Vec<Duration>)> {
    let mut tasks = Vec::new();
    for number in 1..=clients {
        let mut client = client.clone();
        tasks.push(tokio::spawn(async move {
            let (began, mut times, mut op) = (Instant::now(), Vec::new(), round << 32);
            let mut random = StdRng::seed_from_u64(round << 32 | number);
            while began.elapsed() < end {
                op += 1;
                let ids = 0..points;
                let upsert = Op::Upsert(ids.map(|_| point(&mut random)).collect());
                let request = request(&upsert, number, op);
                let sent = Instant::now();
                client.write(request).await.context("a write")?;
                times.push(sent.elapsed());
            }
            Ok::<_, anyhow::Error>(times)
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    Ok((all.len() as u64 * points, all))
}

fn point(random: &mut StdRng) -> Point {
    Point {
        id: PointId::Num(random.random()),
        vectors: vec![(String::new(), (0..SIZE).map(|_| random.random()).collect())],
        payload: br#"{"category":"some"}"#.to_vec(),
    }
}
