//! The Service clients search on.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use shoal_crds::labels;

use super::metadata;
use crate::collection::build::service::port;
use crate::kubernetes::meta;

/// The Service.
pub fn build(namespace: &str) -> Service {
    Service {
        metadata: metadata(namespace, labels::ROUTER, meta::ROUTER_COMPONENT),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".into()),
            selector: Some(meta::component(meta::ROUTER_COMPONENT)),
            ports: Some(vec![port("http", labels::HTTP_PORT), port("admin", labels::ADMIN_PORT)]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
