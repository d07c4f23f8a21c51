//! The router's Deployment.

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{
    Container, Lifecycle, LifecycleHandler, PodSpec, PodTemplateSpec, SleepAction, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use shoal_crds::labels;

use super::{ROUTER_ACCOUNT, metadata};
use crate::collection::validate::Router;
use crate::kubernetes::meta;
use crate::kubernetes::stores::SecretMeta;
use crate::pods;
use crate::settings::Settings;

/// Where the clients' key is mounted.
const API_KEY_DIR: &str = "/etc/shoal/api-key";
/// Annotation that has routers replaced, one after another, when the clients' key was changed.
const API_KEY_VERSION: &str = "shoal.dev/api-key-version";
/// A router that is asked to stop goes on answering until no Service sends it anything: seconds.
const STOP_DELAY: i64 = 5;
/// And then finishes what is under way.
const GRACE_SECONDS: i64 = STOP_DELAY + 30;

/// The Deployment. A new router serves before an old one goes.
pub fn build(
    namespace: &str,
    router: &Router,
    api_key: Option<&SecretMeta>,
    settings: &Settings,
) -> Deployment {
    let selecting = meta::component(meta::ROUTER_COMPONENT);
    let version = api_key.and_then(ResourceExt::resource_version).unwrap_or_default();
    let (token_volume, token_mount) = pods::token();
    let (key_volume, key_mount) =
        pods::secret_volume("api-key", labels::API_KEY_SECRET, labels::API_KEY, API_KEY_DIR);
    let pod = PodSpec {
        service_account_name: Some(ROUTER_ACCOUNT.into()),
        automount_service_account_token: Some(true),
        enable_service_links: Some(false),
        security_context: Some(pods::pod_security()),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        topology_spread_constraints: Some(pods::spread(&selecting)),
        tolerations: Some(pods::leaves_lost_nodes()),
        containers: vec![container(namespace, router, settings, vec![token_mount, key_mount])],
        volumes: Some(vec![token_volume, key_volume]),
        ..PodSpec::default()
    };
    Deployment {
        metadata: metadata(namespace, labels::ROUTER, meta::ROUTER_COMPONENT),
        spec: Some(DeploymentSpec {
            replicas: Some(router.min_replicas),
            revision_history_limit: Some(3),
            selector: meta::selector(selecting.clone()),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_unavailable: Some(IntOrString::Int(0)),
                    max_surge: Some(IntOrString::Int(1)),
                }),
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(meta::with_manager(selecting)),
                    annotations: Some(meta::labels_of([(API_KEY_VERSION, version.as_str())])),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn container(
    namespace: &str,
    router: &Router,
    settings: &Settings,
    mounts: Vec<VolumeMount>,
) -> Container {
    let probes = pods::probes();
    let sleep = LifecycleHandler {
        sleep: Some(SleepAction { seconds: STOP_DELAY }),
        ..LifecycleHandler::default()
    };
    let mut arguments: Vec<String> = vec!["router".into()];
    for (flag, value) in [
        ("--listen", format!("[::]:{}", labels::HTTP_PORT)),
        ("--admin-listen", format!("[::]:{}", labels::ADMIN_PORT)),
        ("--namespace", namespace.to_owned()),
        ("--api-key-file", format!("{API_KEY_DIR}/{}", labels::API_KEY)),
    ] {
        arguments.extend([flag.to_owned(), value]);
    }
    arguments.extend(pods::token_args());
    Container {
        name: "router".into(),
        image: Some(settings.data_plane_image.clone()),
        image_pull_policy: settings.image_pull_policy.clone(),
        // Why a program ended stands in the pod's status, where `kubectl describe` shows it.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        args: Some(arguments),
        env: Some(pods::environment()),
        ports: Some(vec![
            pods::port("http", labels::HTTP_PORT),
            pods::port("admin", labels::ADMIN_PORT),
        ]),
        resources: Some(router.resources.clone()),
        security_context: Some(pods::container_security()),
        startup_probe: Some(probes.startup),
        liveness_probe: Some(probes.liveness),
        readiness_probe: Some(probes.readiness),
        lifecycle: Some(Lifecycle { pre_stop: Some(sleep), ..Lifecycle::default() }),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}
