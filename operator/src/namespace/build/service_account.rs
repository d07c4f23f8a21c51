//! The accounts pods run as: the router's has a token and a Role, that of shards of one copy has neither. Shards of several
//! have accounts of their own.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::{ROUTER_ACCOUNT, metadata};
use crate::collection::build::pod::SERVICE_ACCOUNT as SHARD_ACCOUNT;
use crate::kubernetes::meta;

/// The router's account. Its token is mounted by the pod that asks for it, not by default.
pub fn router(namespace: &str) -> ServiceAccount {
    account(namespace, ROUTER_ACCOUNT, meta::ROUTER_COMPONENT)
}

/// The shards' account.
pub fn shard(namespace: &str) -> ServiceAccount {
    account(namespace, SHARD_ACCOUNT, meta::SHARD_COMPONENT)
}

fn account(namespace: &str, name: &str, component: &str) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(namespace, name, component),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
