//! Ways in: kubeconfigs, clients, and service accounts' tokens.

use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

use super::process::Servers;

/// Writes a kubeconfig that trusts exactly the certificate the server made.
pub(super) fn write_kubeconfig(path: &Path, servers: &Servers, token: &str) -> Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {
            "server": format!("https://127.0.0.1:{}", servers.port()),
            "certificate-authority": servers.certificate(),
        }}],
        "users": [{"name": "it", "user": {"token": token}}],
    });
    // JSON is YAML.
    std::fs::write(path, config.to_string()).with_context(|| path.display().to_string())
}

/// A client by a kubeconfig.
pub(super) async fn client(kubeconfig: &Path) -> Result<Client> {
    let config =
        Kubeconfig::read_from(kubeconfig).with_context(|| kubeconfig.display().to_string())?;
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// A token of a service account, as the kubelet would ask for it.
pub(super) async fn token(
    client: Client,
    namespace: &str,
    service_account: &str,
) -> Result<String> {
    let api = Api::<ServiceAccount>::namespaced(client, namespace);
    let request = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
    let answer = api
        .create_token_request(service_account, &PostParams::default(), &request)
        .await
        .with_context(|| format!("no token for service account {namespace}/{service_account}"))?;
    Ok(answer.status.context("the token request has no answer")?.token)
}
