//! How the namespace's router is, for the conditions of the collections it serves. Pure.
//!
//! Invariant: a router counts as serving only once the Deployment that is wanted now was applied, seen by its controller,
//! and every one of its pods is of it and available; nothing is said twice in different words while nothing changes.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use shoal_crds::labels;

use crate::kubernetes::{in_sync, meta};

/// How the router is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RouterState {
    /// It serves, as asked.
    #[default]
    Serving,
    /// It serves, and is not as asked yet: what is under way.
    Changing(String),
    /// It does not serve: why.
    Away(String),
}

/// The state of a router, given the Deployment that is wanted.
pub fn state(
    router: Option<&Deployment>,
    service: Option<&Service>,
    wanted: Option<&Deployment>,
) -> RouterState {
    let Some(router) = router else {
        return RouterState::Away("the router is being created".to_owned());
    };
    let name = labels::ROUTER;
    let available = router.status.as_ref().and_then(|s| s.available_replicas).unwrap_or_default();
    if available < 1 {
        return RouterState::Away(format!(
            "no pod of Deployment {name} serves yet: see kubectl describe deployment {name}"
        ));
    }
    if service.is_none() {
        return RouterState::Away(format!("the router's Service {name} does not exist yet"));
    }
    match is_applied(router, wanted).then(|| rollout(router)) {
        None => RouterState::Changing(format!("Deployment {name} is about to be changed")),
        Some(rollout) => rollout.map_or(RouterState::Serving, RouterState::Changing),
    }
}

/// Whether the Deployment is the wanted one. One that a person has us leave alone is as it should be.
fn is_applied(router: &Deployment, wanted: Option<&Deployment>) -> bool {
    let Some(wanted) = wanted.filter(|_| !meta::is_paused(&router.metadata)) else { return true };
    let hash = in_sync::hash(wanted).ok();
    meta::annotation(router, labels::APPLIED_HASH) == hash.as_deref()
}

/// What is under way in a Deployment, by the signs `kubectl rollout status` goes by.
fn rollout(router: &Deployment) -> Option<String> {
    let name = labels::ROUTER;
    let status = router.status.clone().unwrap_or_default();
    let wanted = router.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or_default();
    let done = status.observed_generation >= router.metadata.generation
        && updated >= wanted
        && status.replicas.unwrap_or_default() <= updated
        && status.available_replicas.unwrap_or_default() >= wanted;
    let conditions = status.conditions.unwrap_or_default();
    let stuck = conditions.iter().any(|c| c.type_ == "Progressing" && c.status == "False");
    match (done, stuck) {
        (true, _) => None,
        (false, false) => {
            Some(format!("the router serves; not all pods of Deployment {name} are as asked yet"))
        }
        (false, true) => Some(format!(
            "the router serves; new pods of Deployment {name} do not start: see kubectl describe deployment {name}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentSpec, DeploymentStatus};

    use super::*;

    /// What is wanted, and a Deployment made of it that is rolled out.
    fn rolled_out() -> (Deployment, Deployment) {
        let spec = DeploymentSpec { replicas: Some(2), ..DeploymentSpec::default() };
        let wanted = Deployment { spec: Some(spec), ..Deployment::default() };
        let mut router = wanted.clone();
        router.metadata.generation = Some(3);
        let hash = in_sync::hash(&wanted).expect("hash");
        router.metadata.annotations = Some(meta::labels_of([(labels::APPLIED_HASH, &hash)]));
        router.status = Some(DeploymentStatus {
            observed_generation: Some(3),
            replicas: Some(2),
            updated_replicas: Some(2),
            available_replicas: Some(2),
            ..DeploymentStatus::default()
        });
        (wanted, router)
    }

    fn state_of(change: impl FnOnce(&mut Deployment, &mut DeploymentStatus)) -> RouterState {
        let (wanted, mut router) = rolled_out();
        let mut status = router.status.take().expect("status");
        change(&mut router, &mut status);
        router.status = Some(status);
        state(Some(&router), Some(&Service::default()), Some(&wanted))
    }

    fn is_away(state: &RouterState) -> bool {
        matches!(state, RouterState::Away(_))
    }

    fn is_changing(state: &RouterState) -> bool {
        matches!(state, RouterState::Changing(_))
    }

    #[test]
    fn a_router_serves_with_a_pod_and_a_service() {
        assert!(is_away(&state(None, None, None)));
        assert!(is_away(&state_of(|_, status| status.available_replicas = None)));
        let (wanted, router) = rolled_out();
        assert!(is_away(&state(Some(&router), None, Some(&wanted))), "nobody finds it");
        assert_eq!(state_of(|_, _| ()), RouterState::Serving);
    }

    #[test]
    fn a_rollout_is_seen_from_the_change_of_what_is_wanted_to_the_last_pod() {
        let (mut wanted, router) = rolled_out();
        wanted.spec.as_mut().expect("spec").replicas = Some(5);
        let service = Service::default();
        assert!(is_changing(&state(Some(&router), Some(&service), Some(&wanted))), "not applied");
        assert!(is_changing(&state_of(|router, _| router.metadata.generation = Some(4))));
        assert!(is_changing(&state_of(|_, status| status.updated_replicas = Some(1))));
        assert!(
            is_changing(&state_of(|_, status| status.replicas = Some(3))),
            "an old one is left"
        );
        assert!(is_changing(&state_of(|_, status| status.available_replicas = Some(1))));
    }

    #[test]
    fn a_rollout_that_is_stuck_says_where_to_look() {
        let stuck = state_of(|_, status| {
            status.updated_replicas = Some(1);
            status.conditions = Some(vec![DeploymentCondition {
                type_: "Progressing".into(),
                status: "False".into(),
                ..DeploymentCondition::default()
            }]);
        });
        assert!(matches!(stuck, RouterState::Changing(what) if what.contains("kubectl describe")));
    }

    #[test]
    fn a_paused_deployment_is_not_waited_for() {
        let paused = state_of(|router, _| {
            router.metadata.annotations = Some(meta::labels_of([(labels::PAUSED, "true")]));
        });
        assert_eq!(paused, RouterState::Serving);
    }
}
