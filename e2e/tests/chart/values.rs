//! Wrong values are refused before anything is installed, with a message that names them.

use crate::helm::{CHART, run, server, template};

#[tokio::test]
async fn a_wrong_value_is_refused_by_name() {
    let Some(server) = server().await else { return };
    for (set, named) in [
        ("replicas=0", "/replicas"),
        ("replicas=two", "/replicas"),
        ("nonsense=1", "nonsense"),
        ("image.repo=x", "repo"),
        ("image.repository=", "/image/repository"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("dataPlaneImage.tag=a b", "/dataPlaneImage/tag"),
        ("routerNamespaces={A_b}", "/routerNamespaces/0"),
        ("routerGraceSeconds=-1", "/routerGraceSeconds"),
        ("httpCollections=maybe", "/httpCollections"),
        ("log.format=xml", "/log/format"),
        ("metrics.serviceMonitor.interval=often", "/metrics/serviceMonitor/interval"),
        ("resources.limits.memory=lots", "/resources/limits/memory"),
        ("podLabels.a=1", "/podLabels/a"),
    ] {
        let refused = template(server, &["--set", set]).expect_err(set);
        assert!(refused.contains(named), "{set}: `{named}` is not in: {refused}");
    }
}

#[tokio::test]
async fn the_charts_version_is_the_workspaces_and_lint_finds_nothing() {
    let Some(server) = server().await else { return };
    let said = run(server.program("helm").args(["lint", "--strict", CHART])).expect("lints");
    assert!(said.contains("0 chart(s) failed"), "{said}");
    let chart = run(server.program("helm").args(["show", "chart", CHART])).expect("shows");
    for key in ["version", "appVersion"] {
        let line = format!("{key}: {}", env!("CARGO_PKG_VERSION"));
        assert!(chart.lines().any(|one| one == line), "no `{line}` in Chart.yaml");
    }
}
