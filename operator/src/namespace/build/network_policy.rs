//! Who may reach what: shards are asked by routers and the operator alone, routers by everyone, and metrics may be
//! scraped from anywhere in the cluster.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use shoal_crds::labels;

use super::{ROUTER_ACCOUNT, SHARDS_POLICY, metadata};
use crate::kubernetes::meta::{self, APP_NAME, OPERATOR_APP};

/// Label Kubernetes puts on each namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Routers answer everyone.
pub fn router(namespace: &str) -> NetworkPolicy {
    let rules = vec![from(None, labels::HTTP_PORT), from(None, labels::ADMIN_PORT)];
    policy(namespace, ROUTER_ACCOUNT, meta::ROUTER_COMPONENT, &["Ingress"], rules)
}

/// Shards answer the namespace's routers and the operator, and call nobody.
pub fn shards(namespace: &str, operator_namespace: &str) -> NetworkPolicy {
    let routers = NetworkPolicyPeer {
        pod_selector: Some(meta::selector(meta::component(meta::ROUTER_COMPONENT))),
        ..NetworkPolicyPeer::default()
    };
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(meta::selector(meta::labels_of([(
            NAMESPACE_NAME,
            operator_namespace,
        )]))),
        pod_selector: Some(meta::selector(meta::labels_of([(APP_NAME, OPERATOR_APP)]))),
        ip_block: None,
    };
    let rules = vec![
        from(Some(vec![routers, operator]), labels::GRPC_PORT),
        from(None, labels::ADMIN_PORT),
    ];
    policy(namespace, SHARDS_POLICY, meta::SHARD_COMPONENT, &["Ingress", "Egress"], rules)
}

fn from(peers: Option<Vec<NetworkPolicyPeer>>, port: u16) -> NetworkPolicyIngressRule {
    let port = NetworkPolicyPort {
        port: Some(IntOrString::Int(port.into())),
        protocol: Some("TCP".into()),
        end_port: None,
    };
    NetworkPolicyIngressRule { from: peers, ports: Some(vec![port]) }
}

fn policy(
    namespace: &str,
    name: &str,
    component: &str,
    types: &[&str],
    ingress: Vec<NetworkPolicyIngressRule>,
) -> NetworkPolicy {
    NetworkPolicy {
        metadata: metadata(namespace, name, component),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(meta::selector(meta::component(component))),
            policy_types: Some(types.iter().map(|type_| (*type_).to_owned()).collect()),
            ingress: Some(ingress),
            egress: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_routers_and_the_operator_may_ask_shards() {
        let spec = shards("ns", "shoal-system").spec.expect("spec");
        assert_eq!(spec.policy_types, Some(vec!["Ingress".into(), "Egress".into()]));
        assert_eq!(spec.egress, None, "an Egress policy without rules lets nothing out");
        for rule in spec.ingress.expect("rules") {
            let port = rule.ports.expect("ports")[0].port.clone();
            match port {
                Some(IntOrString::Int(port)) if port == i32::from(labels::GRPC_PORT) => {
                    let peers = rule.from.expect("peers");
                    assert_eq!(peers.len(), 2);
                    assert!(peers.iter().all(|peer| peer.pod_selector.is_some()));
                }
                other => assert_eq!(other, Some(IntOrString::Int(labels::ADMIN_PORT.into()))),
            }
        }
    }
}
