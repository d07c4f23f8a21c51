//! Snapshots from objects: who has a name, what is served when an object is broken or old.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use shoal_crds::collection::{
    Datatype as DatatypeSpec, PayloadIndexSpec, Quantization as QuantizationSpec, Replication,
    VectorSpec,
};
use shoal_crds::shard::{RegisterMembers, RegisterPhase, ShardRegister};
use shoal_crds::{Shard, ShardSpec, ShardStatus, VectorCollectionSpec, VectorCollectionStatus};
use shoal_vector::payload::{IndexKind, PayloadIndex};
use shoal_vector::text::{Split, Tokenizer};
use shoal_vector::{Datatype, Metric, Quantization, VectorConfig};

use super::*;
use crate::topology::shards::Told;
use crate::topology::spec::spec_of;

fn reach() -> Reach {
    let token = shoal_proto::auth::Token::parse("0123456789abcdef").unwrap();
    Reach { namespace: "ns".to_owned(), shard_port: 6335, token: token.into() }
}

fn time(second: i64) -> Time {
    Time(Timestamp::from_second(1_700_000_000 + second).unwrap())
}

fn routing(generation: i64, table: &[(&str, &str)]) -> Routing {
    let entry = |&(shard, slots): &(&str, &str)| ShardSlots {
        shard: shard.to_owned(),
        slots: slots.to_owned(),
    };
    Routing { generation, table: table.iter().map(entry).collect() }
}

fn object(
    name: &str,
    client_name: &str,
    created: i64,
    routing: Option<Routing>,
) -> VectorCollection {
    let vectors = vec![VectorSpec { size: 384, ..VectorSpec::default() }];
    let spec =
        VectorCollectionSpec { name: Some(client_name.to_owned()), vectors, ..Default::default() };
    let mut object = VectorCollection::new(name, spec);
    object.metadata.uid = Some(format!("uid-{name}-{created}"));
    object.metadata.creation_timestamp = Some(time(created));
    object.metadata.generation = Some(2);
    object.status = Some(VectorCollectionStatus {
        routing,
        observed_generation: Some(2),
        ..Default::default()
    });
    object
}

fn whole(generation: i64) -> Option<Routing> {
    Some(routing(generation, &[("a-0", "0-8191"), ("a-1", "8192-16383")]))
}

#[tokio::test]
async fn a_changed_quantization_is_told_without_another_routing_table() {
    let mut objects = Objects::new(reach());
    let mut own = object("a", "a", 0, whole(1));
    let of = |snapshot: &Snapshot| snapshot["a"].quantization[""];
    assert_eq!(of(&objects.update(&[own.clone().into()], &Replicas::new())), Quantization::Bits4);
    own.spec.vectors[0].quantization = Some(QuantizationSpec::Int8);
    assert_eq!(of(&objects.update(&[own.into()], &Replicas::new())), Quantization::Int8);
}

fn names_of(collection: &Collection) -> Vec<&str> {
    collection.shards.iter().map(ShardClient::name).collect()
}

#[tokio::test]
async fn an_object_with_a_routing_table_is_served_under_its_client_name() {
    let mut objects = Objects::new(reach());
    let mut own = object("a", "my_collection", 0, whole(1));
    own.spec.vectors[0].datatype = Some(DatatypeSpec::Float16);
    let snapshot = objects.update(&[own.into()], &Replicas::new());
    let collection = &snapshot["my_collection"];
    assert_eq!(names_of(collection), ["a-0", "a-1"]);
    let vector = VectorConfig::new("", 384, Metric::Cosine);
    assert_eq!(collection.vectors, [VectorConfig { datatype: Datatype::Float16, ..vector }]);
    assert_eq!(collection.routing.generation(), 1);
    // Not before it has one.
    assert!(
        Objects::new(reach())
            .update(&[object("a", "a", 0, None).into()], &Replicas::new())
            .is_empty()
    );
}

#[tokio::test]
async fn indexes_are_those_of_the_newest_spec_and_keep_the_connections() {
    let mut objects = Objects::new(reach());
    let mut first = object("a", "c", 0, whole(1));
    let before = objects.update(&[first.clone().into()], &Replicas::new())["c"].clone();
    assert_eq!(before.indexes.fields, []);
    let texts = PayloadIndex::text(
        "t[].x",
        Tokenizer { split: Split::Prefix, lowercase: false, min_len: Some(2), max_len: None },
    );
    let indexes = [PayloadIndex::new("a", IndexKind::Uuid).unwrap(), texts.unwrap()];
    first.spec.payload_indexes = indexes.iter().map(spec_of).collect();
    first
        .spec
        .payload_indexes
        .push(PayloadIndexSpec { field: "b..c".into(), ..Default::default() });
    first.metadata.generation = Some(3);
    let after = objects.update(&[first.into()], &Replicas::new())["c"].clone();
    assert_eq!(after.indexes.fields, indexes);
    assert_eq!((after.indexes.owner.as_str(), after.indexes.version), ("uid-a-0", 3));
    assert_eq!(names_of(&after), names_of(&before));
}

#[tokio::test]
async fn of_two_that_claim_a_name_the_older_has_it_until_it_goes() {
    let mut objects = Objects::new(reach());
    let older = object("old", "x", 1, Some(routing(1, &[("old-0", "0-16383")])));
    let newer = object("new", "x", 2, Some(routing(1, &[("new-0", "0-16383")])));
    for order in [[&older, &newer], [&newer, &older]] {
        let snapshot = objects.update(&order.map(|o| Arc::new(o.clone())), &Replicas::new());
        assert_eq!(names_of(&snapshot["x"]), ["old-0"]);
    }
    let mut going = older;
    going.metadata.deletion_timestamp = Some(time(9));
    let snapshot = objects.update(&[going.into(), newer.into()], &Replicas::new());
    assert_eq!(names_of(&snapshot["x"]), ["new-0"]);
}

#[tokio::test]
async fn what_was_served_stays_when_status_is_lost_damaged_or_older() {
    let mut objects = Objects::new(reach());
    objects.update(&[object("a", "a", 0, whole(5)).into()], &Replicas::new());
    let gap = routing(6, &[("a-0", "0-8191"), ("a-1", "8193-16383")]);
    for broken in [None, Some(gap), whole(4)] {
        let snapshot = objects.update(&[object("a", "a", 0, broken).into()], &Replicas::new());
        assert_eq!(snapshot["a"].routing.generation(), 5);
    }
    // Another object of that name is another collection, however new its table is.
    let snapshot = objects.update(&[object("a", "a", 77, whole(1)).into()], &Replicas::new());
    assert_eq!(snapshot["a"].routing.generation(), 1);
    assert!(objects.update(&[], &Replicas::new()).is_empty());
}

#[tokio::test]
async fn an_unchanged_table_costs_nothing_and_a_newer_one_is_taken() {
    let mut objects = Objects::new(reach());
    let first = objects.update(&[object("a", "a", 0, whole(1)).into()], &Replicas::new());
    let again = objects.update(&[object("a", "a", 0, whole(1)).into()], &Replicas::new());
    assert!(Arc::ptr_eq(&first["a"], &again["a"]));
    let moved = Some(routing(2, &[("a-0", "0-99"), ("a-1", "100-16383")]));
    let later = objects.update(&[object("a", "a", 0, moved).into()], &Replicas::new());
    assert_eq!(later["a"].routing.generation(), 2);
}

#[test]
fn progress_is_what_the_conditions_say_about_the_spec_as_it_is_now() {
    let condition = |kind: &str, status: &str| Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: "Why".to_owned(),
        message: "do this".to_owned(),
        last_transition_time: time(0),
        observed_generation: Some(2),
    };
    let with = |conditions: Vec<Condition>| {
        let mut object = object("a", "a", 0, whole(1));
        object.status.as_mut().unwrap().conditions = conditions;
        object
    };
    assert_eq!(progress(&with(vec![condition("Ready", "True")])), Progress::Ready);
    assert_eq!(
        progress(&with(vec![condition("Ready", "False")])),
        Progress::Waiting("Why: do this".to_owned())
    );
    let stalled = with(vec![condition("Ready", "False"), condition("Stalled", "True")]);
    assert_eq!(progress(&stalled), Progress::Stalled("Why: do this".to_owned()));
    let mut unseen = with(vec![condition("Ready", "True")]);
    unseen.metadata.generation = Some(3);
    assert!(matches!(progress(&unseen), Progress::Waiting(_)));
    unseen.status = None;
    assert!(matches!(progress(&unseen), Progress::Waiting(_)));
}

fn replicas(shard: &str, names: &[&str]) -> Replicas {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Replicas::from([(shard.to_owned(), Told { names, seated: None })])
}

fn addresses(collection: &Collection) -> Vec<&str> {
    let ShardClient::Replicas(set) = &collection.shards[0] else { panic!("it is alone") };
    set.replicas().iter().map(RemoteShard::address).collect()
}

#[tokio::test]
async fn the_replicas_of_a_shard_are_those_that_its_object_names_and_are_waited_for() {
    let mut objects = Objects::new(reach());
    let mut own = object("a", "a", 0, Some(routing(1, &[("a-0", "0-16383")])));
    own.spec.replication = Some(Replication { replicas: Some(3), ..Default::default() });
    let own = [Arc::new(own)];
    assert!(objects.update(&own, &Replicas::new()).is_empty(), "nobody knows where they are");
    let three = objects.update(&own, &replicas("a-0", &["r0", "r1", "r2"]))["a"].clone();
    let host = |n: u32| format!("{}:6335", labels::replica_host("a", "a-0", n, "ns"));
    assert_eq!(addresses(&three), [host(0), host(1), host(2)]);
    let replaced = objects.update(&own, &replicas("a-0", &["r0", "r1", "r3"]))["a"].clone();
    assert_eq!(addresses(&replaced), [host(0), host(1), host(3)]);
    let gone = objects.update(&own, &Replicas::new())["a"].clone();
    assert_eq!(addresses(&gone), addresses(&replaced), "what is served stays");
}

#[tokio::test]
async fn a_shard_is_asked_as_its_object_says_also_while_it_becomes_one_of_several_and_back() {
    let mut objects = Objects::new(reach());
    let asking = |copies: u32| {
        let mut own = object("a", "a", 0, Some(routing(1, &[("a-0", "0-16383")])));
        own.spec.replication = Some(Replication { replicas: Some(copies), ..Default::default() });
        [Arc::new(own)]
    };
    let told = |copies: u32, replicated: bool, names: &[&str], has_register: bool| {
        let replica_names = names.iter().map(|name| (*name).to_owned()).collect();
        let spec = ShardSpec { replicas: copies, replicated, replica_names, ..Default::default() };
        let mut shard = Shard::new("a-0", spec);
        let members = RegisterMembers { generation: "1".into(), voters: vec![], write_quorum: 1 };
        let register = ShardRegister {
            epoch: "0".into(),
            nonce: "0000000000000000".into(),
            phase: RegisterPhase::Electing,
            primary: None,
            members,
        };
        let register = has_register.then_some(register);
        shard.status = Some(ShardStatus { register, ..Default::default() });
        Replicas::from([("a-0".to_owned(), Told::of(&shard))])
    };
    let host = |n: u32| format!("{}:6335", labels::replica_host("a", "a-0", n, "ns"));
    let is_alone = |collection: &Collection| matches!(&collection.shards[0], ShardClient::Remote(r) if r.address() == host(0));
    for (copies, told) in [
        (1, told(1, false, &["r0"], false)),
        (3, told(1, false, &["r0"], false)),
        // Its pod may still be as it was.
        (3, told(3, false, &["r0"], false)),
    ] {
        assert!(is_alone(&objects.update(&asking(copies), &told)["a"]));
    }
    for (copies, told, numbers) in [
        (3, told(3, false, &["r0"], true), &[0][..]),
        (3, told(3, false, &["r0", "r1", "r2"], true), &[0, 1, 2]),
        (1, told(3, false, &["r0", "r1", "r2"], true), &[0, 1, 2]),
        (1, told(1, true, &["r2"], true), &[2]),
        (1, told(1, true, &["r2"], false), &[2]),
        (1, Replicas::new(), &[2]),
    ] {
        let hosts: Vec<String> = numbers.iter().copied().map(host).collect();
        assert_eq!(addresses(&objects.update(&asking(copies), &told)["a"]), hosts);
    }
    assert!(is_alone(&Objects::new(reach()).update(&asking(1), &Replicas::new())["a"]));
}
