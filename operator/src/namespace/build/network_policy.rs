//! Who may reach what: shards are asked by routers and the operator alone, and where they have replicas by those; routers
//! by everyone; and metrics may be scraped from anywhere in the cluster.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use shoal_crds::labels;

use super::{REBALANCE_POLICY, REPLICAS_POLICY, ROUTER_ACCOUNT, SHARDS_POLICY, metadata};
use crate::collection::build::job::COMPONENT;
use crate::kubernetes::meta::{self, APP_NAME, OPERATOR_APP};

/// Label Kubernetes puts on each namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Routers answer everyone.
pub fn router(namespace: &str) -> NetworkPolicy {
    let rules = vec![from(None, labels::HTTP_PORT), from(None, labels::ADMIN_PORT)];
    policy(namespace, ROUTER_ACCOUNT, meta::ROUTER_COMPONENT, &["Ingress"], rules)
}

/// Shards answer the namespace's routers and the operator, and by this policy call nobody.
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

/// Replicas answer other replicas besides, and call them, the API server and whoever tells names. Where the API server is, and
/// on which port, is the cluster's secret: TCP is let out to anywhere. A policy of each shard's own would have to be under a
/// name that users choose; whom replicas answer their token decides.
pub fn replicas(namespace: &str) -> NetworkPolicy {
    let mut selecting = meta::component(meta::SHARD_COMPONENT);
    selecting.insert(labels::REPLICATED.to_owned(), "true".to_owned());
    let selector = meta::selector(selecting);
    let peers =
        NetworkPolicyPeer { pod_selector: Some(selector.clone()), ..NetworkPolicyPeer::default() };
    let ingress = vec![from(Some(vec![peers]), labels::GRPC_PORT)];
    let types = &["Ingress", "Egress"];
    let mut policy = policy(namespace, REPLICAS_POLICY, meta::SHARD_COMPONENT, types, ingress);
    if let Some(spec) = &mut policy.spec {
        spec.pod_selector = Some(selector);
        spec.egress = Some(vec![to_the_api_server()]);
    }
    policy
}

/// Jobs that move replicas ask the API server, and nobody asks them.
pub fn rebalance(namespace: &str) -> NetworkPolicy {
    let types = &["Ingress", "Egress"];
    let mut policy = policy(namespace, REBALANCE_POLICY, COMPONENT, types, Vec::new());
    if let Some(spec) = &mut policy.spec {
        spec.egress = Some(vec![to_the_api_server()]);
    }
    policy
}

fn to_the_api_server() -> NetworkPolicyEgressRule {
    let names = NetworkPolicyPort { port: Some(IntOrString::Int(53)), ..protocol("UDP") };
    NetworkPolicyEgressRule { to: None, ports: Some(vec![protocol("TCP"), names]) }
}

fn protocol(name: &str) -> NetworkPolicyPort {
    NetworkPolicyPort { protocol: Some(name.to_owned()), ..NetworkPolicyPort::default() }
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
    fn only_replicas_are_let_out_and_only_they_ask_each_other() {
        let spec = replicas("ns").spec.expect("spec");
        let selected = spec.pod_selector.expect("selector");
        let labels = selected.match_labels.clone().expect("labels");
        assert_eq!(labels.get(labels::REPLICATED).map(String::as_str), Some("true"));
        let ingress = spec.ingress.expect("rules");
        assert_eq!(ingress.len(), 1);
        let peers = ingress[0].from.clone().expect("peers");
        assert_eq!(peers[0].pod_selector, Some(selected));
        let ports = spec.egress.expect("rules")[0].ports.clone().expect("ports");
        assert!(ports.iter().all(|p| p.protocol.as_deref() == Some("TCP") || p.port.is_some()));
    }

    #[test]
    fn nobody_asks_a_job_that_moves_replicas() {
        let spec = rebalance("ns").spec.expect("spec");
        assert_eq!(spec.policy_types, Some(vec!["Ingress".into(), "Egress".into()]));
        assert_eq!(spec.ingress, Some(Vec::new()));
        assert_eq!(spec.egress.map(|rules| rules.len()), Some(1));
        let selected = spec.pod_selector.and_then(|selector| selector.match_labels);
        assert_eq!(selected, Some(meta::component(COMPONENT)));
    }

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
