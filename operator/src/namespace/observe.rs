//! What exists of a namespace's router, out of the stores.
//!
//! Invariant: no request leaves the process here.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use shoal_crds::{VectorCollection, labels};

use super::build::{REBALANCE_POLICY, REPLICAS_POLICY, ROUTER_ACCOUNT, SHARDS_POLICY};
use crate::collection::build::pod::SERVICE_ACCOUNT as SHARD_ACCOUNT;
use crate::kubernetes::stores::{SecretMeta, Stores, find};

/// What exists of a namespace's router.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)] // Each is the object of the kind it is named after; lists are of router, then shards, then replicas.
pub struct Seen {
    /// The namespace's collections, also those being deleted.
    pub collections: Vec<Arc<VectorCollection>>,
    pub deployment: Option<Arc<Deployment>>,
    pub service: Option<Arc<Service>>,
    pub budget: Option<Arc<PodDisruptionBudget>>,
    pub role: Option<Arc<Role>>,
    pub role_binding: Option<Arc<RoleBinding>>,
    pub service_accounts: [Option<Arc<ServiceAccount>>; 2],
    pub network_policies: [Option<Arc<NetworkPolicy>>; 4],
    pub api_key: Option<Arc<SecretMeta>>,
    pub token: Option<Arc<SecretMeta>>,
}

impl Seen {
    /// Whether anything is there that was made for the router.
    pub fn has_any(&self) -> bool {
        self.deployment.is_some()
            || self.service.is_some()
            || self.budget.is_some()
            || self.role.is_some()
            || self.role_binding.is_some()
            || self.service_accounts.iter().any(Option::is_some)
            || self.network_policies.iter().any(Option::is_some)
    }
}

/// Looks at the stores.
pub fn observe(stores: &Stores, namespace: &str) -> Seen {
    let router = labels::ROUTER;
    Seen {
        collections: stores
            .collections
            .state_filter(|c| c.metadata.namespace.as_deref() == Some(namespace)),
        deployment: find(&stores.deployments, namespace, router),
        service: find(&stores.services, namespace, router),
        budget: find(&stores.budgets, namespace, ROUTER_ACCOUNT),
        role: find(&stores.roles, namespace, ROUTER_ACCOUNT),
        role_binding: find(&stores.role_bindings, namespace, ROUTER_ACCOUNT),
        service_accounts: [ROUTER_ACCOUNT, SHARD_ACCOUNT]
            .map(|name| find(&stores.service_accounts, namespace, name)),
        network_policies: [ROUTER_ACCOUNT, SHARDS_POLICY, REPLICAS_POLICY, REBALANCE_POLICY]
            .map(|name| find(&stores.network_policies, namespace, name)),
        api_key: secret(&stores.api_key_secrets, namespace, labels::API_KEY_SECRET),
        token: secret(&stores.token_secrets, namespace, labels::INTERNAL_TOKEN_SECRET),
    }
}

fn secret(
    store: &kube::runtime::reflector::Store<SecretMeta>,
    namespace: &str,
    name: &str,
) -> Option<Arc<SecretMeta>> {
    find(store, namespace, name)
}
