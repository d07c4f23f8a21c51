//! What the chart renders: rights, arguments, security, and the plain manifests made from it.

use std::process::Command;

use clap::Parser;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, PostParams};
use serde_json::{Value, json};
use shoal_operator::rbac::{self, Rule};
use shoal_operator::settings::Settings;

use crate::helm::{ROOT, only, run, server, strings, template};

/// A rule as `group resources names verbs`, each sorted, so that two lists compare whatever their order.
fn rules_of(role: &Value) -> Vec<String> {
    let sorted = |list: &Value| {
        let mut list = strings(list);
        list.sort_unstable();
        list.join(",")
    };
    let rules = role["rules"].as_array().expect("rules");
    let mut rules: Vec<String> = rules
        .iter()
        .map(|rule| {
            ["apiGroups", "resources", "resourceNames", "verbs"]
                .map(|part| sorted(&rule[part]))
                .join(" ")
        })
        .collect();
    rules.sort_unstable();
    rules
}

fn rules_in_code(rules: &[Rule]) -> Vec<String> {
    let rules: Vec<Value> = rules
        .iter()
        .map(|rule| json!({"apiGroups": [rule.group], "resources": rule.resources, "resourceNames": rule.names, "verbs": rule.verbs}))
        .collect();
    rules_of(&json!({ "rules": rules }))
}

#[tokio::test]
async fn the_operators_rights_are_those_its_code_lists() {
    let Some(server) = server().await else { return };
    let objects =
        template(server, &["--set", "rbac.aggregateToDefaultRoles=false"]).expect("renders");
    assert_eq!(rules_of(only(&objects, "ClusterRole")), rules_in_code(rbac::CLUSTER));
    assert_eq!(rules_of(only(&objects, "Role")), rules_in_code(rbac::OWN_NAMESPACE));
}

/// The operator's own parser, and what `main` adds to it.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    settings: Settings,
    #[arg(long)]
    log: String,
    #[arg(long)]
    log_format: String,
}

#[tokio::test]
async fn the_operator_understands_the_arguments_it_is_given() {
    let Some(server) = server().await else { return };
    let given = "image.repository=r/operator,dataPlaneImage.repository=r/shoal,dataPlaneImage.tag=v7,\
                 dataPlaneImage.pullPolicy=Never,routerNamespaces={a,b},routerGraceSeconds=90,httpCollections=false,\
                 log.level=debug,log.format=text";
    for set in [given, "replicas=1"] {
        let objects = template(server, &["--set", set]).expect("renders");
        let container = &only(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
        let line = Line::try_parse_from(strings(&container["args"])).expect("understood");
        if set == given {
            assert_eq!(container["image"], format!("r/operator:{}", env!("CARGO_PKG_VERSION")));
            assert_eq!(line.settings.data_plane_image, "r/shoal:v7");
            assert_eq!(line.settings.image_pull_policy.as_deref(), Some("Never"));
            assert_eq!(line.settings.router_namespaces, ["a", "b"]);
            assert_eq!(line.settings.router_grace_seconds, 90);
            assert!(!line.settings.http_collections);
            assert_eq!((line.log.as_str(), line.log_format.as_str()), ("debug", "text"));
        } else {
            assert!(line.settings.router_namespaces.is_empty() && line.settings.http_collections);
        }
    }
}

#[tokio::test]
async fn every_pod_is_accepted_where_only_restricted_ones_are() {
    let Some(server) = server().await else { return };
    let namespace = server.namespace("restricted").await.expect("a namespace");
    let label = "pod-security.kubernetes.io/enforce=restricted";
    run(server.kubectl().args(["label", "namespace", &namespace, label])).expect("labels");
    let client = server.client().await.expect("a client");
    let pods: Api<DynamicObject> = Api::namespaced_with(
        client,
        &namespace,
        &ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&()),
    );
    let objects = template(server, &[]).expect("renders");
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    for spec in
        [&only(&objects, "Deployment")["spec"]["template"]["spec"], &only(&objects, "Pod")["spec"]]
    {
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec});
        pods.create(&dry_run, &serde_json::from_value(pod).expect("a pod"))
            .await
            .expect("restricted");
    }
    let loose = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"},
                       "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let refused = pods.create(&dry_run, &serde_json::from_value(loose).expect("a pod")).await;
    assert!(refused.is_err(), "the namespace takes any pod, so the test shows nothing");
}

#[tokio::test]
async fn every_object_of_every_setting_is_accepted_by_the_api_server() {
    let Some(server) = server().await else { return };
    server.install_definitions().await.expect("definitions");
    run(server.kubectl().args(["create", "namespace", "dry-run"])).expect("a namespace");
    let full = "replicas=2,imagePullSecrets[0].name=pull,podLabels.team=a,podAnnotations.note=b,nodeSelector.disk=fast,\
                priorityClassName=system-cluster-critical,serviceAccount.name=other,extraEnv[0].name=A,\
                extraEnv[0].value=b,tolerations[0].operator=Exists,serviceAccount.annotations.role=x";
    for (set, kinds) in [("replicas=1", 0), (full, 1)] {
        let objects = template(server, &["--set", set, "--namespace", "dry-run"]).expect("renders");
        let budgets = objects.iter().filter(|one| one["kind"] == "PodDisruptionBudget").count();
        assert_eq!(budgets, kinds, "a budget only makes sense with several pods");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("rendered.json");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        std::fs::write(&file, list.to_string()).expect("writes");
        let apply = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=strict",
            "-f",
        ];
        let said = run(server.kubectl().args(apply).arg(&file)).expect("accepted");
        assert_eq!(said.lines().count(), objects.len(), "{said}");
    }
}

#[tokio::test]
async fn the_service_monitor_follows_the_service() {
    let Some(server) = server().await else { return };
    let set =
        "metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.labels.release=prometheus";
    let objects = template(server, &["--set", set]).expect("renders");
    let (monitor, service) = (only(&objects, "ServiceMonitor"), only(&objects, "Service"));
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    for (key, value) in monitor["spec"]["selector"]["matchLabels"].as_object().expect("labels") {
        assert_eq!(&service["metadata"]["labels"][key], value, "{key}");
    }
    assert_eq!(monitor["spec"]["endpoints"][0]["port"], service["spec"]["ports"][0]["name"]);
}

#[tokio::test]
async fn the_plain_manifests_are_fresh_and_accepted() {
    let Some(server) = server().await else { return };
    let helm = server.program("helm");
    let render = Command::new(format!("{ROOT}/config/install/render.sh"))
        .env("HELM", helm.get_program())
        .output();
    let rendered = String::from_utf8(render.expect("runs").stdout).expect("text");
    let path = format!("{ROOT}/config/install/shoal.yaml");
    let there = std::fs::read_to_string(&path).expect("reads");
    assert!(there == rendered, "config/install/shoal.yaml is stale: run `make manifests`");
    // The namespace comes first in the file, and a dry run does not make it for the others.
    let objects = crate::helm::documents(&there);
    assert_eq!(objects[0]["kind"], "Namespace");
    assert_eq!(objects[0]["metadata"]["name"], "shoal-system");
    run(server.kubectl().args(["create", "namespace", "shoal-system"])).expect("a namespace");
    let apply = ["apply", "--server-side", "--dry-run=server", "--validate=strict"];
    // Other tests apply the definitions under a name of their own.
    let apply = [&apply[..], &["--force-conflicts", "-f", &path]].concat();
    let said = run(server.kubectl().args(apply)).expect("accepted");
    assert_eq!(said.lines().count(), objects.len(), "{said}");
}
