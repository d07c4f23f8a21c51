//! Clients of a collection over HTTP, as users have: through its routers, which find the primary and repeat what may be
//! repeated. A write that was not answered with success is not repeated here: it may have been done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::workers::Points;
use super::{Action, History, Outcome, Record, State, value, vector};
use crate::qdrant::{Answer, Failed, Qdrant};

/// How long an answer to a write may take: longer than a failover within the default budget.
const WRITE: Duration = Duration::from_secs(12);
/// How long one attempt of a read may take, and all of them.
const READ: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(20));
/// Pause after an attempt that failed.
const PAUSE: Duration = Duration::from_millis(50);

/// See the module's comment.
pub struct OverHttp {
    client: Qdrant,
    collection: String,
    /// What stands as `by` in the history.
    by: usize,
    /// The history of all clients.
    pub history: Arc<History>,
    /// Attempts of reads that were not answered.
    repeated: AtomicU64,
}

impl OverHttp {
    /// Clients of one server; `by` tells them from those of others in the history.
    pub fn new(client: Qdrant, collection: &str, by: usize, history: Arc<History>) -> Arc<Self> {
        let collection = collection.to_owned();
        Arc::new(Self { client, collection, by, history, repeated: AtomicU64::new(0) })
    }

    /// Attempts of reads that failed so far, whether or not the next one was answered.
    pub fn repeated(&self) -> u64 {
        self.repeated.load(Ordering::SeqCst)
    }

    /// Takes note of what just ended; nothing is sent twice under one number.
    fn record(&self, key: u64, who: (u64, u64), action: Action, sent: u64, outcome: Outcome) {
        let ((client, op), by, invoked) = (who, self.by, sent);
        let returned = self.history.now();
        let record = Record { key, client, op, action, invoked, sent, returned, by, outcome };
        self.history.record(record);
    }

    async fn send(&self, key: u64, action: Action, wait: bool) -> Result<Answer, Failed> {
        let points = format!("/collections/{}/points", self.collection);
        let (method, path, body) = match action {
            Action::Upsert(number) => {
                let payload = json!({"number": number});
                let point = json!({"id": key, "vector": vector(number), "payload": payload});
                ("PUT", points, json!({"points": [point]}))
            }
            Action::Merge(number) => {
                let body = json!({"payload": {"merged": number}, "points": [key]});
                ("POST", format!("{points}/payload"), body)
            }
            Action::Delete => ("POST", format!("{points}/delete"), json!({"points": [key]})),
            Action::Strong | Action::Any => unreachable!("reads are no writes"),
        };
        self.client.ask_within(WRITE, method, &format!("{path}?wait={wait}"), Some(&body)).await
    }

    async fn retrieve(&self, key: u64, strong: bool) -> Result<State, Failed> {
        let consistency = if strong { "?consistency=majority" } else { "" };
        let path = format!("/collections/{}/points{consistency}", self.collection);
        let body = json!({"ids": [key], "with_payload": true, "with_vector": true});
        let answer = self.client.ask_within(READ.0, "POST", &path, Some(&body)).await?;
        // An answer without the shard says nothing of the point.
        if !answer.missing().is_empty() {
            return Err(Failed::Refused(answer));
        }
        Ok(answer.body["result"].get(0).map(|point| {
            let stored = point["vector"].as_array().into_iter().flatten();
            let stored: Vec<f32> = stored.filter_map(Json::as_f64).map(|x| x as f32).collect();
            value(key, &point["payload"], &stored)
        }))
    }
}

impl Points for OverHttp {
    async fn write(&self, key: u64, client: u64, op: u64, action: Action, wait: bool) {
        let invoked = self.history.now();
        let outcome = match self.send(key, action, wait).await {
            Ok(_) => Outcome::Done,
            Err(Failed::NotConnected(_)) => Outcome::NotDone,
            Err(Failed::Refused(answer)) if (400..500).contains(&answer.status) => {
                panic!("the test asks for what cannot be: {}", answer.error())
            }
            Err(error) => {
                self.history
                    .remark(&format!("client {client}: {action:?} of point {key}: {error}"));
                Outcome::Open
            }
        };
        self.record(key, (client, op), action, invoked, outcome);
        if outcome != Outcome::Done {
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn read(
        &self,
        key: u64,
        client: u64,
        op: u64,
        strong: bool,
        _first: usize,
    ) -> Option<State> {
        let action = if strong { Action::Strong } else { Action::Any };
        let began = Instant::now();
        let (sent, outcome) = loop {
            let sent = self.history.now();
            match self.retrieve(key, strong).await {
                Ok(state) => break (sent, Outcome::Saw(state)),
                Err(error) => {
                    self.repeated.fetch_add(1, Ordering::SeqCst);
                    self.history
                        .remark(&format!("client {client}: {action:?} of point {key}: {error}"));
                }
            }
            if began.elapsed() >= READ.1 {
                break (sent, Outcome::NotDone);
            }
            tokio::time::sleep(PAUSE).await;
        };
        self.record(key, (client, op), action, sent, outcome);
        match outcome {
            Outcome::Saw(state) => Some(state),
            _ => None,
        }
    }
}
