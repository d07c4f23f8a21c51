//! The objects of a namespace's router: one file per kind. Pure, and cannot fail.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::observe::Seen;
use crate::collection::build::budget::one_at_a_time;
use crate::collection::validate::Router;
use crate::kubernetes::meta;
use crate::settings::Settings;

pub mod deployment;
pub mod network_policy;
pub mod role;
pub mod service;
pub mod service_account;

/// Name of the router's account, role, binding, budget and policy.
pub const ROUTER_ACCOUNT: &str = "shoal-router";
/// Name of the shards' NetworkPolicy.
pub const SHARDS_POLICY: &str = "shoal-shards";
/// Name of the NetworkPolicy of shards' replicas.
pub const REPLICAS_POLICY: &str = "shoal-replicas";

/// Name of the NetworkPolicy of Jobs that move replicas.
pub const REBALANCE_POLICY: &str = "shoal-rebalance";

/// Everything a namespace's router needs.
#[allow(missing_docs)] // Each is the object of the kind it is named after; lists are of router, shards, replicas, Jobs.
pub struct Built {
    pub deployment: Deployment,
    pub service: Service,
    pub budget: PodDisruptionBudget,
    pub role: Role,
    pub role_binding: RoleBinding,
    pub service_accounts: [ServiceAccount; 2],
    pub network_policies: [NetworkPolicy; 4],
}

/// Builds everything.
pub fn build(namespace: &str, router: &Router, seen: &Seen, settings: &Settings) -> Built {
    let selecting = meta::component(meta::ROUTER_COMPONENT);
    Built {
        deployment: deployment(namespace, router, seen, settings),
        service: service::build(namespace),
        budget: one_at_a_time(
            metadata(namespace, ROUTER_ACCOUNT, meta::ROUTER_COMPONENT),
            selecting,
        ),
        role: role::role(namespace, settings.http_collections),
        role_binding: role::binding(namespace),
        service_accounts: [service_account::router(namespace), service_account::shard(namespace)],
        network_policies: [
            network_policy::router(namespace),
            network_policy::shards(namespace, &settings.namespace),
            network_policy::replicas(namespace),
            network_policy::rebalance(namespace),
        ],
    }
}

/// Builds the router's Deployment alone.
pub fn deployment(
    namespace: &str,
    router: &Router,
    seen: &Seen,
    settings: &Settings,
) -> Deployment {
    deployment::build(namespace, router, seen.api_key.as_deref(), settings)
}

/// Metadata of an object of a component. No owner: it belongs to the namespace, and goes when nobody needs it.
fn metadata(namespace: &str, name: &str, component: &str) -> ObjectMeta {
    meta::metadata(name, namespace, meta::with_manager(meta::component(component)), None)
}
