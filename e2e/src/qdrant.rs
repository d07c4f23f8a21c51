//! A plain client of Qdrant's REST dialect: just what tests ask, with statuses and bodies as they came.
//!
//! Why not a real client: tests look at statuses, error texts and partial answers. (The unmodified `qdrant-client` is
//! tested by `e2e/clients`.)

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::sample::Row;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long making or removing a collection may take: the router waits 120 s for its pods before it says so.
const PATIENCE_FOR_PODS: Duration = Duration::from_secs(150);

/// Speaks to one server.
#[derive(Clone)]
pub struct Qdrant {
    http: reqwest::Client,
    url: String,
    key: String,
}

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; `null` where it was not JSON.
    pub body: Value,
}

/// Why a request did not do what it should.
#[derive(Debug)]
pub enum Failed {
    /// The server said no.
    Refused(Answer),
    /// Nothing was sent: there was no connection.
    NotConnected(String),
    /// There was no answer.
    Unreached(String),
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(answer) => write!(f, "{}: {}", answer.status, answer.error()),
            Self::NotConnected(why) => write!(f, "no connection: {why}"),
            Self::Unreached(why) => write!(f, "no answer: {why}"),
        }
    }
}

impl std::error::Error for Failed {}

impl Answer {
    /// The error text of the envelope, or the whole body.
    pub fn error(&self) -> String {
        match self.body["status"]["error"].as_str() {
            Some(text) => text.to_owned(),
            None => self.body.to_string(),
        }
    }

    /// Shards that a partial answer says were missing.
    pub fn missing(&self) -> Vec<String> {
        let missing = self.body["shoal"]["missing"].as_array().cloned().unwrap_or_default();
        missing.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    }

    /// Ids of the hits of a query.
    pub fn ids(&self) -> Vec<u64> {
        let hits = self.body["result"]["points"].as_array().cloned().unwrap_or_default();
        hits.iter().filter_map(|hit| hit["id"].as_u64()).collect()
    }
}

/// How long a request may take.
fn patience(method: &str, path: &str) -> Duration {
    let path = path.split('?').next().unwrap_or_default();
    let names_a_collection =
        path.strip_prefix("/collections/").is_some_and(|name| !name.contains('/'));
    if names_a_collection && ["PUT", "DELETE"].contains(&method) {
        PATIENCE_FOR_PODS
    } else {
        PATIENCE
    }
}

fn succeeded(answer: Answer) -> Result<Answer, Failed> {
    if answer.status == 200 { Ok(answer) } else { Err(Failed::Refused(answer)) }
}

/// The body of an upsert of rows as points with the ids given.
pub fn upsert_body(points: &[(u64, &Row)]) -> String {
    let point =
        |(id, row): &(u64, &Row)| json!({"id": id, "vector": row.vector, "payload": row.payload});
    json!({"points": points.iter().map(point).collect::<Vec<_>>()}).to_string()
}

impl Qdrant {
    /// A client of the server at `url`, sending `key` unless it is empty.
    pub fn new(url: &str, key: &str) -> Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .connect_timeout(Duration::from_secs(3))
            .no_proxy()
            .build()?;
        Ok(Self { http, url: url.to_owned(), key: key.to_owned() })
    }

    /// Any request; an answer of whatever status.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failed> {
        self.send_text(patience(method, path), method, path, body.map(Value::to_string)).await
    }

    async fn send_text(
        &self,
        patience: Duration,
        method: &str,
        path: &str,
        body: Option<String>,
    ) -> Result<Answer, Failed> {
        let unreached = |error: reqwest::Error| match error.is_connect() {
            true => Failed::NotConnected(format!("{error:?}")),
            false => Failed::Unreached(format!("{error:?}")),
        };
        let method =
            method.parse().map_err(|_| Failed::Unreached(format!("no method {method}")))?;
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        request = request.timeout(patience);
        if !self.key.is_empty() {
            request = request.header("api-key", &self.key);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.send().await.map_err(unreached)?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.map_err(unreached)?;
        Ok(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }

    /// A request that must succeed.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failed> {
        succeeded(self.send(method, path, body).await?)
    }

    /// As [`Qdrant::ask`], answered within a time.
    pub async fn ask_within(
        &self,
        patience: Duration,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failed> {
        succeeded(self.send_text(patience, method, path, body.map(Value::to_string)).await?)
    }

    /// Names of the collections.
    pub async fn collections(&self) -> Result<Vec<String>> {
        let answer = self.ask("GET", "/collections", None).await?;
        let list = answer.body["result"]["collections"].as_array().cloned().context("no list")?;
        Ok(list.iter().filter_map(|c| c["name"].as_str().map(str::to_owned)).collect())
    }

    /// Upserts rows as points with the ids given, and waits until they are visible.
    pub async fn upsert(&self, collection: &str, points: &[(u64, &Row)]) -> Result<Answer, Failed> {
        self.upsert_text(collection, upsert_body(points)).await
    }

    /// As [`Qdrant::upsert`], of a body made before, so that making it is no part of what is measured.
    pub async fn upsert_text(&self, collection: &str, body: String) -> Result<Answer, Failed> {
        let path = format!("/collections/{collection}/points?wait=true");
        succeeded(self.send_text(PATIENCE, "PUT", &path, Some(body)).await?)
    }

    /// The nearest points to a vector.
    pub async fn nearest(
        &self,
        collection: &str,
        vector: &[f32],
        limit: usize,
        exact: bool,
    ) -> Result<Answer, Failed> {
        let body = json!({"query": vector, "limit": limit, "params": {"exact": exact}});
        self.ask("POST", &format!("/collections/{collection}/points/query"), Some(&body)).await
    }

    /// How many points there are.
    pub async fn count(&self, collection: &str) -> Result<u64> {
        let path = format!("/collections/{collection}/points/count");
        let answer = self.ask("POST", &path, Some(&json!({"exact": true}))).await?;
        answer.body["result"]["count"].as_u64().context("no count")
    }

    /// Those of the ids that exist.
    pub async fn existing(&self, collection: &str, ids: &[u64]) -> Result<Vec<u64>> {
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(1000) {
            let body = json!({"ids": ids, "with_payload": false, "with_vector": false});
            let answer =
                self.ask("POST", &format!("/collections/{collection}/points"), Some(&body)).await?;
            let points = answer.body["result"].as_array().cloned().context("no points")?;
            found.extend(points.iter().filter_map(|point| point["id"].as_u64()));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_pods_is_given_the_time_the_server_takes() {
        for (method, path) in [("PUT", "/collections/c"), ("DELETE", "/collections/c?timeout=9")] {
            assert_eq!(patience(method, path), PATIENCE_FOR_PODS, "{method} {path}");
        }
        for (method, path) in [
            ("GET", "/collections/c"),
            ("GET", "/collections"),
            ("PUT", "/collections/c/points?wait=true"),
        ] {
            assert_eq!(patience(method, path), PATIENCE, "{method} {path}");
        }
    }
}
