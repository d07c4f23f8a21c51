//! The headless Service that gives a collection's shard pods their names.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use shoal_crds::{VectorCollection, labels};

use super::super::validate::Valid;
use super::{collection_labels, owner};
use crate::kubernetes::meta;

/// The headless Service. Addresses are published before pods are ready: a router, and later a replica, must find a
/// shard that is still recovering.
pub fn build(collection: &VectorCollection, valid: &Valid) -> Service {
    let selecting = collection_labels(valid);
    let name = labels::shards_service(&valid.name);
    Service {
        metadata: meta::metadata(
            &name,
            &valid.namespace,
            meta::with_manager(selecting.clone()),
            owner(collection),
        ),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".into()),
            publish_not_ready_addresses: Some(true),
            selector: Some(selecting),
            ports: Some(vec![port("grpc", labels::GRPC_PORT), port("admin", labels::ADMIN_PORT)]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// A port of a Service, of the name the container's port has.
pub fn port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number.into(),
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".into()),
        ..ServicePort::default()
    }
}
