//! The whole HTTP application over a data folder, asked without a network in between.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use serde_json::{Value, json};
use shoal_node::http::{self, ApiKey, AppState, BodyRoom};
use shoal_node::reads::ReadPool;
use shoal_node::router::{Deadlines, Router};
use shoal_node::telemetry::Telemetry;
use shoal_node::topology::Topology;
use shoal_node::topology::local::LocalTopology;
use tempfile::TempDir;
use tower::ServiceExt;

/// A server of its own for one test.
pub(crate) struct Server {
    app: axum::Router,
    key: Option<&'static str>,
    _data: TempDir,
}

/// What it answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn error(&self) -> &str {
        self.body["status"]["error"]
            .as_str()
            .unwrap_or_else(|| panic!("no error in an envelope: {self:?}"))
    }
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::with(None, http::DEFAULT_MAX_BODY_BYTES)
    }

    pub(crate) fn with(key: Option<&'static str>, max_body_bytes: usize) -> Self {
        let data = tempfile::tempdir().unwrap();
        let telemetry = Arc::new(Telemetry::new());
        let topology =
            LocalTopology::open(data.path(), 2, ReadPool::for_this_machine(), telemetry.clone())
                .unwrap();
        let router =
            Arc::new(Router::new(Arc::new(topology), Deadlines::default(), telemetry.clone()));
        let api_key = key.map(|key| ApiKey::new(key).unwrap());
        let readiness = Arc::new(|| Ok(()));
        let body_room = BodyRoom::new(max_body_bytes);
        let state = AppState { router, api_key, telemetry, readiness, max_body_bytes, body_room };
        let app = http::app(Arc::new(state));
        Self { app, key, _data: data }
    }

    /// A server over other collections than those of a data folder.
    pub(crate) fn over(topology: impl Topology + 'static, deadlines: Deadlines) -> Self {
        let telemetry = Arc::new(Telemetry::new());
        let router = Arc::new(Router::new(Arc::new(topology), deadlines, telemetry.clone()));
        let (readiness, max_body_bytes) = (Arc::new(|| Ok(())), http::DEFAULT_MAX_BODY_BYTES);
        let body_room = BodyRoom::new(max_body_bytes);
        let state =
            AppState { router, api_key: None, telemetry, readiness, max_body_bytes, body_room };
        Self { app: http::app(Arc::new(state)), key: None, _data: tempfile::tempdir().unwrap() }
    }

    /// Serves on a free port of this machine until the test ends, and says where.
    pub(crate) async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, self.app.clone()).into_future());
        url
    }

    /// Sends bytes as they are, with these headers and no others.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.app.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status: parts.status.as_u16(), headers: parts.headers, text, body }
    }

    /// Sends JSON text, with the key.
    pub(crate) async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(self.key.map(|key| ("api-key", key)));
        self.raw(method, path, &headers, body.to_owned()).await
    }

    /// Sends JSON and expects success.
    pub(crate) async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.send(method, path, &text).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text);
        assert_eq!(answer.body["status"], "ok", "{}", answer.text);
        assert!(answer.body["time"].is_f64(), "{}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/json");
        answer.body["result"].clone()
    }

    /// Sends JSON text and expects an error of this status that contains these words.
    pub(crate) async fn refused(
        &self,
        method: &str,
        path: &str,
        body: &str,
        status: u16,
        words: &str,
    ) {
        let answer = self.send(method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.text);
        assert!(answer.error().contains(words), "{method} {path} {body}: {}", answer.text);
    }

    /// The collection of the dialect's quick start, with its six cities.
    pub(crate) async fn with_cities() -> Self {
        let server = Self::new();
        server
            .ok("PUT", "/collections/cities", json!({"vectors": {"size": 4, "distance": "Dot"}}))
            .await;
        let points = json!({"points": [
            {"id": 1, "vector": [0.05, 0.61, 0.76, 0.74], "payload": {"city": "Berlin"}},
            {"id": 2, "vector": [0.19, 0.81, 0.75, 0.11], "payload": {"city": "London"}},
            {"id": 3, "vector": [0.36, 0.55, 0.47, 0.94], "payload": {"city": "Moscow"}},
            {"id": 4, "vector": [0.18, 0.01, 0.85, 0.80], "payload": {"city": "New York"}},
            {"id": 5, "vector": [0.24, 0.18, 0.22, 0.44], "payload": {"city": "Beijing"}},
            {"id": "00000000-0000-0000-0000-000000000006", "vector": [0.35, 0.08, 0.11, 0.44]},
        ]});
        let done = server.ok("PUT", "/collections/cities/points?wait=true", points).await;
        assert_eq!(done["status"], "completed");
        server
    }
}
