//! The few requests a loader makes, with errors that say what to do.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde::Serialize;
use serde_json::{Value, json};

/// Longest wait for any answer: making a collection on a cluster starts pods.
const TIMEOUT: Duration = Duration::from_secs(180);

/// A server, spoken to as any client would.
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    pub(super) fn new(url: &str, api_key: Option<&str>) -> anyhow::Result<Self> {
        let base = url.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") {
            bail!(
                "{url}: this loader speaks plain HTTP only: give a URL such as http://127.0.0.1:6333"
            );
        }
        let mut headers = HeaderMap::new();
        if let Some(key) = api_key {
            let mut value = HeaderValue::from_str(key)
                .context("the API key has characters that no header takes")?;
            value.set_sensitive(true);
            headers.insert("api-key", value);
        }
        // A proxy set for the world outside would be asked for a server on this machine.
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .timeout(TIMEOUT)
            .no_proxy()
            .build()?;
        Ok(Self { http, base })
    }

    /// What the server says of a collection; `None` if it has none of this name.
    pub(super) async fn describe(&self, collection: &str) -> anyhow::Result<Option<Value>> {
        let request = self.request(Method::GET, &["collections", collection])?;
        let (status, body) = self.send(request).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        result(status, body).map(Some)
    }

    pub(super) async fn create(&self, collection: &str, body: &Value) -> anyhow::Result<()> {
        let request = self.request(Method::PUT, &["collections", collection])?.json(body);
        let (status, body) = self.send(request).await?;
        result(status, body)
            .with_context(|| format!("collection {collection} cannot be made"))
            .map(|_| ())
    }

    /// How many of the points 0 to `rows` are there. Others that someone added do not count.
    pub(super) async fn count(&self, collection: &str, rows: usize) -> anyhow::Result<u64> {
        let ids: Vec<usize> = (0..rows).collect();
        let body = json!({"exact": true, "filter": {"must": [{"has_id": ids}]}});
        let answer = self.post(&["collections", collection, "points", "count"], &body).await?;
        answer["count"].as_u64().with_context(|| format!("not a count: {answer}"))
    }

    /// Writes points and waits until they are visible.
    pub(super) async fn upsert(
        &self,
        collection: &str,
        points: &impl Serialize,
    ) -> anyhow::Result<()> {
        let mut url = self.url(&["collections", collection, "points"])?;
        url.set_query(Some("wait=true"));
        let request = self.http.put(url).json(&json!({"points": points}));
        let (status, body) = self.send(request).await?;
        result(status, body).map(|_| ())
    }

    pub(super) async fn query(&self, collection: &str, body: &Value) -> anyhow::Result<Value> {
        self.post(&["collections", collection, "points", "query"], body).await
    }

    async fn post(&self, path: &[&str], body: &Value) -> anyhow::Result<Value> {
        let (status, body) = self.send(self.request(Method::POST, path)?.json(body)).await?;
        result(status, body)
    }

    fn request(&self, method: Method, path: &[&str]) -> anyhow::Result<RequestBuilder> {
        Ok(self.http.request(method, self.url(path)?))
    }

    fn url(&self, path: &[&str]) -> anyhow::Result<Url> {
        let mut url =
            Url::parse(&self.base).with_context(|| format!("{} is not a URL", self.base))?;
        // Segments are escaped one by one, so that a name with a slash stays one.
        url.path_segments_mut().ok().context("the URL takes no path")?.pop_if_empty().extend(path);
        Ok(url)
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<(StatusCode, Value)> {
        let unreachable = || {
            format!(
                "no answer from {}: is a server running there? `shoal serve` starts one",
                self.base
            )
        };
        let response = request.send().await.with_context(unreachable)?;
        let status = response.status();
        let text = response.text().await?;
        let body = serde_json::from_str(&text)
            .with_context(|| format!("{status}, and not JSON: is this a Shoal server?"))?;
        Ok((status, body))
    }
}

/// What is in the envelope.
fn result(status: StatusCode, mut body: Value) -> anyhow::Result<Value> {
    match status {
        StatusCode::OK => Ok(body["result"].take()),
        StatusCode::UNAUTHORIZED => {
            bail!("the server asks for another API key: give it with --api-key or SHOAL_API_KEY")
        }
        _ => bail!("{status}: {}", body["status"]["error"].as_str().unwrap_or("no reason given")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_one_segment_and_urls_are_checked() {
        let client = Client::new("http://127.0.0.1:6333/", Some("key")).unwrap();
        let request =
            client.request(Method::GET, &["collections", "a/b c"]).unwrap().build().unwrap();
        assert_eq!(request.url().as_str(), "http://127.0.0.1:6333/collections/a%2Fb%20c");
        for wrong in ["https://x", "127.0.0.1:6333", ""] {
            assert!(Client::new(wrong, None).is_err(), "{wrong}");
        }
        assert!(Client::new("http://x", Some("new\nline")).is_err());
    }

    #[test]
    fn errors_are_the_servers_own_words() {
        let body =
            json!({"status": {"error": "Not found: Collection `x` doesn't exist!"}, "time": 0.0});
        let error = result(StatusCode::NOT_FOUND, body).unwrap_err().to_string();
        assert!(error.contains("Collection `x`"), "{error}");
        assert!(
            result(StatusCode::UNAUTHORIZED, json!({}))
                .unwrap_err()
                .to_string()
                .contains("--api-key")
        );
    }
}
