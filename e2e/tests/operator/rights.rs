//! The operator's rights as objects, made from the list in its code: what is missing there fails every test here.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use shoal_operator::rbac::{CLUSTER, OWN_NAMESPACE, Rule};

const NAME: &str = "shoal-operator";
const GROUP: &str = "rbac.authorization.k8s.io";

/// Makes the operator's account and gives it its rights.
pub(crate) async fn grant(client: Client, namespace: &str) -> Result<(), kube::Error> {
    let params = PostParams::default();
    let account = ServiceAccount { metadata: named(), ..ServiceAccount::default() };
    Api::namespaced(client.clone(), namespace).create(&params, &account).await?;
    let subjects = Some(vec![Subject {
        kind: "ServiceAccount".into(),
        name: NAME.into(),
        namespace: Some(namespace.into()),
        api_group: None,
    }]);
    let role =
        ClusterRole { metadata: named(), rules: Some(rules(CLUSTER)), aggregation_rule: None };
    Api::all(client.clone()).create(&params, &role).await?;
    let binding = ClusterRoleBinding {
        metadata: named(),
        role_ref: reference("ClusterRole"),
        subjects: subjects.clone(),
    };
    Api::all(client.clone()).create(&params, &binding).await?;
    let role = Role { metadata: named(), rules: Some(rules(OWN_NAMESPACE)) };
    Api::namespaced(client.clone(), namespace).create(&params, &role).await?;
    let binding = RoleBinding { metadata: named(), role_ref: reference("Role"), subjects };
    Api::namespaced(client, namespace).create(&params, &binding).await?;
    Ok(())
}

fn named() -> ObjectMeta {
    ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() }
}

fn reference(kind: &str) -> RoleRef {
    RoleRef { api_group: GROUP.into(), kind: kind.into(), name: NAME.into() }
}

fn rules(list: &[Rule]) -> Vec<PolicyRule> {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let rule = |rule: &Rule| PolicyRule {
        api_groups: Some(vec![rule.group.to_owned()]),
        resources: Some(owned(rule.resources)),
        resource_names: (!rule.names.is_empty()).then(|| owned(rule.names)),
        verbs: owned(rule.verbs),
        ..PolicyRule::default()
    };
    list.iter().map(rule).collect()
}
