//! Helm, and what it renders, as objects.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use shoal_e2e::apiserver::ApiServer;

/// The chart's folder.
pub(crate) const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/shoal");
/// The repository's root.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The API server, where helm is there too.
pub(crate) async fn server() -> Option<&'static ApiServer> {
    let server = ApiServer::shared().await?;
    let helm = server.program("helm");
    if !Path::new(helm.get_program()).is_file() {
        shoal_e2e::skip::skipped("tests of the chart", "helm is missing: run e2e/cluster/build.sh");
        return None;
    }
    Some(server)
}

/// Runs a command; its output, or what it said when it failed.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let Output { status, stdout, stderr } = command.output().expect("runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    if status.success() { Ok(stdout.into_owned()) } else { Err(format!("{stdout}{stderr}")) }
}

/// Renders the chart with further arguments.
pub(crate) fn template(server: &ApiServer, arguments: &[&str]) -> Result<Vec<Value>, String> {
    let mut helm = server.program("helm");
    helm.args([
        "template",
        "shoal",
        CHART,
        "--namespace",
        "shoal-system",
        "--kube-version",
        "1.34.0",
    ])
    .args(arguments);
    run(&mut helm).map(|text| documents(&text))
}

/// The objects of a text of several documents.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    all.into_iter().filter(|one| !one.is_null()).collect()
}

/// The one object of a kind.
pub(crate) fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut of_kind = objects.iter().filter(|one| one["kind"] == kind);
    let (Some(first), None) = (of_kind.next(), of_kind.next()) else {
        panic!("not exactly one {kind}")
    };
    first
}

/// The names in a list of objects with names.
pub(crate) fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
