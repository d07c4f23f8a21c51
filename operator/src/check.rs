//! `shoal-operator check`: asks a URL and says whether it answered well. For probes and `helm test`, where an image
//! holds nothing but this binary.

use std::time::Duration;

use anyhow::Context as _;
use axum::body::Body;
use axum::http::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks until the answer is a 2xx, or the time is up.
pub async fn check(url: &str, patience: Duration) -> anyhow::Result<()> {
    let uri: Uri = url
        .parse()
        .with_context(|| format!("--url {url} is no URL such as http://host:9090/readyz"))?;
    anyhow::ensure!(uri.scheme_str() == Some("http"), "--url must begin with http://");
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
    let mut last = "no answer".to_owned();
    let asked = async {
        loop {
            match client.get(uri.clone()).await {
                Ok(answer) if answer.status().is_success() => return,
                Ok(answer) => last = format!("the answer was {}", answer.status()),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let timed_out = tokio::time::timeout(patience, asked).await.is_err();
    anyhow::ensure!(!timed_out, "{url} is not well after {} s: {last}", patience.as_secs());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::admin::{self, Health};

    #[tokio::test]
    async fn a_server_is_well_once_it_is_ready_and_not_before() {
        let probe = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = probe.local_addr().expect("an address");
        drop(probe);
        let health = Arc::new(Health::default());
        tokio::spawn(admin::serve(address, Arc::clone(&health), Arc::new(Registry::default())));
        let ready = format!("http://{address}/readyz");
        let early = check(&ready, Duration::from_millis(1500)).await.expect_err("not ready");
        assert!(early.to_string().contains("503"), "{early}");
        check(&format!("http://{address}/livez"), Duration::from_secs(5)).await.expect("alive");
        health.set_ready();
        check(&ready, Duration::from_secs(5)).await.expect("ready");
        check(&format!("http://{address}/metrics"), Duration::from_secs(5)).await.expect("metrics");
    }

    #[tokio::test]
    async fn a_url_that_is_none_is_told() {
        for url in ["", "https://x", "not a url"] {
            assert!(check(url, Duration::from_secs(1)).await.is_err(), "{url}");
        }
    }
}
