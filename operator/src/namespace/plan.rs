//! Whether a namespace has a router, and which. Pure.

use shoal_crds::VectorCollection;
use shoal_crds::conditions::{self, reason};

use super::observe::Seen;
use crate::collection::resources;
use crate::collection::validate::{self, Router};
use crate::settings::Settings;

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Keep a router.
    Keep(Router),
    /// There is one, and nobody needs it.
    Remove,
    /// There is none, and nobody needs one.
    Nothing,
}

/// Plans.
pub fn plan(namespace: &str, seen: &Seen, settings: &Settings) -> Plan {
    if !seen.collections.is_empty() || settings.names(namespace) {
        return Plan::Keep(router(seen));
    }
    if seen.has_any() { Plan::Remove } else { Plan::Nothing }
}

/// The largest router that any collection asks for; what one leaves out is the default.
///
/// A collection that is held asks for nothing, and one whose spec is invalid for what there is: its own condition tells
/// what is wrong, the others get their router, and a slip of the pen takes no router away that serves.
fn router(seen: &Seen) -> Router {
    let parts = seen.collections.iter().filter(|collection| !is_held(collection));
    let asked = parts.filter_map(|collection| match validate::validate(collection) {
        Ok(valid) => Some(valid.router),
        Err(_) if is_established(collection) => present(seen),
        Err(_) => None,
    });
    let largest = asked.reduce(|largest, next| Router {
        min_replicas: largest.min_replicas.max(next.min_replicas),
        resources: resources::larger(largest.resources, next.resources),
    });
    largest.unwrap_or_default()
}

/// The router there is.
fn present(seen: &Seen) -> Option<Router> {
    let spec = seen.deployment.as_ref()?.spec.as_ref()?;
    let container = spec.template.spec.as_ref()?.containers.first()?;
    let resources = container.resources.clone().unwrap_or_default();
    Some(Router { min_replicas: spec.replicas.unwrap_or(1), resources })
}

fn is_established(collection: &VectorCollection) -> bool {
    collection.status.as_ref().is_some_and(|status| status.routing.is_some())
}

/// Whether nothing runs for a collection, because it asks for what it cannot have.
fn is_held(collection: &VectorCollection) -> bool {
    // What the API server refused may be the router itself: leaving its cause out would bring it back the next time.
    let of_spec = |reason: &str| ![reason::APPLY_FAILED, reason::OBJECT_CONFLICT].contains(&reason);
    let conditions = collection.status.iter().flat_map(|status| &status.conditions);
    let mut stalled = conditions.filter(|c| c.type_ == conditions::STALLED && c.status == "True");
    !is_established(collection) && stalled.any(|condition| of_spec(&condition.reason))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use clap::Parser;
    use k8s_openapi::api::core::v1::ResourceRequirements;
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use k8s_openapi::jiff::Timestamp;
    use shoal_crds::collection::{Router as Asked, Routing, VectorCollectionStatus};

    use super::*;
    use crate::collection::testing::collection;
    use crate::namespace::build;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        settings: Settings,
    }

    fn settings(named: &str) -> Settings {
        Flags::parse_from(["x", "--data-plane-image", "i", "--router-namespaces", named]).settings
    }

    fn amounts(pairs: &[(&str, &str)]) -> Option<BTreeMap<String, Quantity>> {
        Some(
            pairs
                .iter()
                .map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned())))
                .collect(),
        )
    }

    fn asking(
        replicas: Option<u32>,
        requests: &[(&str, &str)],
        limits: &[(&str, &str)],
    ) -> Arc<VectorCollection> {
        let mut made = collection("c");
        let limits = if limits.is_empty() { None } else { amounts(limits) };
        let resources =
            ResourceRequirements { requests: amounts(requests), limits, ..Default::default() };
        made.spec.router = Some(Asked { min_replicas: replicas, resources: Some(resources) });
        Arc::new(made)
    }

    fn kept(collections: Vec<Arc<VectorCollection>>) -> Router {
        match plan("ns", &Seen { collections, ..Seen::default() }, &settings("other")) {
            Plan::Keep(router) => router,
            other => panic!("not kept: {other:?}"),
        }
    }

    #[test]
    fn a_router_is_kept_for_a_collection_or_a_named_namespace_and_for_nothing_else() {
        assert!(matches!(plan("named", &Seen::default(), &settings("a,named")), Plan::Keep(_)));
        assert_eq!(plan("ns", &Seen::default(), &settings("a,named")), Plan::Nothing);
        let left = Seen { service: Some(Arc::default()), ..Seen::default() };
        assert_eq!(plan("ns", &left, &settings("a")), Plan::Remove);
        assert_eq!(kept(vec![Arc::new(collection("c"))]).min_replicas, 2);
    }

    #[test]
    fn where_collections_disagree_the_largest_wins_in_each_resource() {
        let router = kept(vec![
            asking(Some(3), &[("cpu", "2"), ("memory", "64Mi")], &[("memory", "1Gi")]),
            asking(Some(1), &[("cpu", "500m"), ("memory", "1Gi")], &[("memory", "2048Mi")]),
        ]);
        assert_eq!(router.min_replicas, 3);
        assert_eq!(router.resources.requests, amounts(&[("cpu", "2"), ("memory", "1Gi")]));
        assert_eq!(router.resources.limits, amounts(&[("memory", "2048Mi")]));
    }

    #[test]
    fn no_limit_is_the_largest_limit() {
        let router = kept(vec![asking(None, &[], &[("memory", "1Gi")]), Arc::new(collection("c"))]);
        assert_eq!(router.resources.limits, None);
    }

    /// A collection that runs, and asks for what cannot be.
    fn established_nonsense() -> Arc<VectorCollection> {
        let mut made = (*asking(Some(5), &[("cpu", "2")], &[("cpu", "1")])).clone();
        let routing = Some(Routing { generation: 1, table: Vec::new() });
        made.status = Some(VectorCollectionStatus { routing, ..Default::default() });
        Arc::new(made)
    }

    #[test]
    fn one_collections_nonsense_does_not_cost_the_others_their_router() {
        let sane = || asking(Some(3), &[("cpu", "1")], &[]);
        let nonsense = asking(Some(9), &[("cpu", "lots")], &[]);
        assert_eq!(kept(vec![nonsense.clone(), sane()]), kept(vec![sane()]));
        assert_eq!(kept(vec![established_nonsense(), sane()]), kept(vec![sane()]));
        assert_eq!(kept(vec![nonsense]), Router::default());
    }

    #[test]
    fn a_slip_of_the_pen_does_not_shrink_the_router_that_serves() {
        let before = kept(vec![asking(Some(7), &[("cpu", "2")], &[])]);
        let deployment = build::deployment("ns", &before, &Seen::default(), &settings("other"));
        let deployment = Some(Arc::new(deployment));
        let collections = vec![established_nonsense()];
        let seen = Seen { collections, deployment, ..Seen::default() };
        assert_eq!(plan("ns", &seen, &settings("other")), Plan::Keep(before));
    }

    #[test]
    fn a_collection_that_is_held_asks_for_no_router() {
        let held = |reason: &str| {
            let mut made = (*asking(Some(9), &[("cpu", "8")], &[])).clone();
            let condition = Condition {
                type_: conditions::STALLED.into(),
                status: "True".into(),
                reason: reason.into(),
                message: String::new(),
                observed_generation: None,
                last_transition_time: Time(Timestamp::UNIX_EPOCH),
            };
            let conditions = vec![condition];
            made.status = Some(VectorCollectionStatus { conditions, ..Default::default() });
            kept(vec![Arc::new(made)]).min_replicas
        };
        assert_eq!(held(reason::RESHARDING_UNSUPPORTED), 2);
        assert_eq!(held(reason::APPLY_FAILED), 9, "it is the router's trouble, not its own");
    }
}
