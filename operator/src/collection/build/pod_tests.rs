//! What a pod is told, and what has it replaced.

use std::time::Duration;

use shoal_crds::collection::Datatype;

use super::*;
use crate::collection::testing::collection;
use crate::collection::validate::validate;

fn valid() -> Valid {
    validate(&collection("c")).expect("valid")
}

fn part() -> ShardSlots {
    ShardSlots { shard: "c-0".into(), slots: "0-16383".into() }
}

fn inputs_of(template: &PodTemplateSpec) -> Option<&String> {
    template
        .metadata
        .as_ref()
        .and_then(|m| m.annotations.as_ref())
        .and_then(|a| a.get(labels::POD_INPUTS))
}

#[test]
fn the_pod_is_restricted_and_has_no_token_of_the_api_server() {
    let spec = build(&valid(), &part(), "i", Replica::ONLY).spec.expect("spec");
    assert_eq!(spec.automount_service_account_token, Some(false));
    let security = spec.security_context.expect("security");
    assert_eq!((security.run_as_non_root, security.run_as_user), (Some(true), Some(65_532)));
    assert_eq!(security.seccomp_profile.map(|s| s.type_), Some("RuntimeDefault".into()));
    for container in spec.containers {
        let security = container.security_context.expect("security");
        assert_eq!(security.allow_privilege_escalation, Some(false));
        assert_eq!(security.read_only_root_filesystem, Some(true));
        assert_eq!(security.capabilities.and_then(|c| c.drop), Some(vec!["ALL".to_owned()]));
    }
}

#[test]
fn inputs_change_with_what_the_user_writes_and_not_with_the_disk() {
    let base = build(&valid(), &part(), "i", Replica::ONLY);
    let mut grown = valid();
    grown.storage_size.0 = "99Gi".into();
    assert_eq!(inputs_of(&build(&grown, &part(), "i", Replica::ONLY)), inputs_of(&base));
    assert_ne!(inputs_of(&build(&valid(), &part(), "j", Replica::ONLY)), inputs_of(&base));
    let mut tuned = valid();
    tuned.vectors[0].index =
        Some(shoal_crds::collection::Index { ef: Some(99), ef_construct: None });
    assert_ne!(inputs_of(&build(&tuned, &part(), "i", Replica::ONLY)), inputs_of(&base));
    let mut quantised = valid();
    quantised.vectors[0].quantization = Some(Quantization::Bits4);
    assert_eq!(
        inputs_of(&build(&quantised, &part(), "i", Replica::ONLY)),
        inputs_of(&base),
        "the default"
    );
    quantised.vectors[0].quantization = Some(Quantization::None);
    assert_ne!(inputs_of(&build(&quantised, &part(), "i", Replica::ONLY)), inputs_of(&base));
}

#[test]
fn one_of_several_is_told_who_it_is_and_may_ask_the_api_server() {
    let replica = Replica { number: 2, replicated: true };
    let template = build(&valid(), &part(), "i", replica);
    let spec = template.spec.clone().expect("spec");
    assert_eq!(spec.service_account_name.as_deref(), Some("shoal-shard-c-0"));
    assert_eq!(spec.automount_service_account_token, Some(true));
    let env = spec.containers[0].env.clone().expect("env");
    let value = |name: &str| {
        let found = env.iter().find(|var| var.name == name);
        found.and_then(|var| var.value.clone()).unwrap_or_default()
    };
    assert_eq!(value("SHOAL_REPLICA"), "r2");
    assert_eq!(value("SHOAL_REGISTER"), "shard-object");
    assert_eq!(value("SHOAL_ADVERTISE"), "c-0-r2-0.c-shards.ns.svc:6335");
    assert_eq!(
        (value("SHOAL_FAILOVER_BUDGET"), value("SHOAL_ACKS")),
        ("5000ms".into(), "quorum".into())
    );
    let spread = spec.topology_spread_constraints.expect("spread");
    for constraint in &spread {
        let apart = constraint.label_selector.clone().and_then(|s| s.match_labels);
        assert_eq!(apart.expect("labels").get(labels::SHARD).map(String::as_str), Some("c-0"));
        assert_eq!(constraint.when_unsatisfiable, "ScheduleAnyway");
    }
    assert_eq!(value("SHOAL_VISIBILITY_SLA"), "", "the default is not told");
    let visible = Valid { visibility_sla: Some(Duration::from_secs(3)), ..valid() };
    let visible = build(&visible, &part(), "i", replica);
    assert_ne!(inputs_of(&visible), inputs_of(&template));
    let told = visible.spec.and_then(|spec| spec.containers[0].env.clone()).expect("env");
    assert!(told.iter().any(|var| var.value.as_deref() == Some("3000ms")), "{told:?}");
    let quick = Valid { acks: Acks::Primary, ..valid() };
    assert_ne!(inputs_of(&build(&quick, &part(), "i", replica)), inputs_of(&template));
    let (lone, same) =
        (build(&quick, &part(), "i", Replica::ONLY), build(&valid(), &part(), "i", Replica::ONLY));
    assert_eq!(lone, same, "of one copy there is nothing to agree on");
}

#[test]
fn a_name_that_begins_with_a_dash_is_not_taken_for_a_flag() {
    let odd = Valid { client_name: "--ef".into(), ..valid() };
    assert!(arguments(&odd, &part()).contains(&"--collection=--ef".to_owned()));
}

#[test]
fn vectors_are_told_as_the_shard_reads_them() {
    assert_eq!(vectors(&valid()), r#"[{"distance":"Cosine","name":"","size":4}]"#);
}

#[test]
fn sparse_vectors_are_told_where_there_are_some() {
    let flag = "--sparse-vectors".to_owned();
    assert!(!arguments(&valid(), &part()).contains(&flag));
    let words = Valid { sparse_vectors: vec!["words".into()], ..valid() };
    let told = [flag, r#"[{"name":"words"}]"#.to_owned()];
    assert!(arguments(&words, &part()).windows(2).any(|pair| pair == told));
}

#[test]
fn a_datatype_is_told_where_it_is_not_the_default() {
    let mut own = valid();
    own.vectors[0].datatype = Some(Datatype::Float32);
    assert_eq!(arguments(&own, &part()), arguments(&valid(), &part()));
    own.vectors[0].datatype = Some(Datatype::Float16);
    let told = r#"[{"datatype":"Float16","distance":"Cosine","name":"","size":4}]"#;
    assert!(arguments(&own, &part()).contains(&told.to_owned()), "{:?}", arguments(&own, &part()));
}

#[test]
fn quantization_is_told_where_it_is_not_the_default() {
    assert!(!arguments(&valid(), &part()).contains(&"--quantization".to_owned()));
    let mut own = valid();
    own.vectors[0].quantization = Some(Quantization::Int8);
    let told = ["--quantization".to_owned(), "Int8".to_owned()];
    assert!(arguments(&own, &part()).windows(2).any(|pair| pair == told));
    own.vectors.push(VectorSpec { name: "title".into(), size: 2, ..VectorSpec::default() });
    let told = r#"[{"ef":64,"efConstruct":100,"name":"","quantization":"Int8"},{"ef":64,"efConstruct":100,"name":"title"}]"#;
    assert!(arguments(&own, &part()).contains(&told.to_owned()), "the other has the default");
}

#[test]
fn the_tuning_of_each_vector_is_told_where_there_are_several() {
    assert!(!arguments(&valid(), &part()).contains(&"--tuning".to_owned()));
    let mut several = valid();
    several.vectors.push(VectorSpec {
        name: "title".into(),
        size: 2,
        index: Some(shoal_crds::collection::Index { ef: Some(9), ef_construct: None }),
        ..VectorSpec::default()
    });
    let told =
        r#"[{"ef":64,"efConstruct":100,"name":""},{"ef":9,"efConstruct":100,"name":"title"}]"#;
    let arguments = arguments(&several, &part());
    let at = arguments.iter().position(|argument| argument == "--tuning").expect("told");
    assert_eq!(arguments.get(at + 1).map(String::as_str), Some(told));
}
