//! Three replicas as processes, and a router's way to them: writes and reads while the primary ends, hangs, or stops in order.

#![allow(clippy::disallowed_methods, reason = "tests measure and wait")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::{Duration, Instant};

use common::replica::Replica;
use common::three::{LONG, NAMES, Three};
use common::until_ready;
use rustix::process::Signal;
use shoal_node::router::api::{Consistency, ReadOptions};
use shoal_proto::pb;

/// Each read goes to another replica, so three of them ask all.
async fn assert_all_show(three: &Three, points: u64) {
    for _ in NAMES {
        assert_eq!(three.count(Consistency::Any).await, points);
    }
    assert_eq!(three.count(Consistency::Strong).await, points);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_read_from_every_replica_also_after_the_primary_was_killed() {
    let mut three = Three::start().await;
    for id in 1..=20 {
        assert!(three.put(id).await.visible);
        assert_eq!(three.count(Consistency::Any).await, id, "what this router was told");
    }
    assert_all_show(&three, 20).await;
    let primary = three.primary().await;
    let killed = three.replicas.remove(primary);
    let root = three.root.path().to_owned();
    let first = killed.told().await;
    assert_eq!((first.role(), &first.failover), (pb::ReplicaRole::Primary, &None));
    assert_eq!(first.behind.len(), 2);
    killed.process.signal(Signal::KILL);
    // No error in between: the write is repeated under its ids until another leads.
    three.put(21).await;
    assert_all_show(&three, 21).await;
    let told = three.replicas[three.primary().await].told().await;
    let failover = told.failover.expect("it tells how it came to lead");
    assert_eq!(failover.from, first.disk);
    assert!(!failover.planned && failover.lost_ops == Some(0));
    assert!(failover.epoch.is_some_and(|epoch| epoch.number > 1));
    // Nobody is missed before it was silent for a while, and that is part of how long it took.
    let missed = failover.promoted_ms - failover.detected_ms;
    assert!(failover.duration_ms.is_some_and(|whole| whole > missed), "{failover:?}");
    let mut back = killed.restart(&root);
    until_ready(&mut back.process, back.admin).await;
    three.replicas.push(back);
    three.put(22).await;
    assert_all_show(&three, 22).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_hangs_is_succeeded_and_does_not_lead_when_it_goes_on() {
    let mut three = Three::start().await;
    three.put(1).await;
    let hung = three.primary().await;
    three.replicas[hung].process.signal(Signal::STOP);
    three.put(2).await;
    assert_all_show(&three, 2).await;
    three.replicas[hung].process.signal(Signal::CONT);
    three.put(3).await;
    assert_all_show(&three, 3).await;
    assert_ne!(three.primary().await, hung);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_asked_to_stop_has_another_lead_first() {
    let mut three = Three::start().await;
    three.put(1).await;
    let stopping = three.primary().await;
    let stopped = three.replicas[stopping].told().await.disk;
    three.replicas[stopping].process.signal(Signal::TERM);
    three.put(2).await;
    let status = three.replicas[stopping].process.wait(LONG);
    for at in (0..NAMES.len()).filter(|&at| at != stopping) {
        let told = three.replicas[at].told().await;
        let leads = told.role() == pb::ReplicaRole::Primary;
        assert_eq!(told.failover.is_some(), leads, "{told:?}");
        assert!(told.failover.is_none_or(|told| told.planned && told.from == stopped));
    }
    assert!(status.success(), "{status}");
    let log = three.replicas[stopping].process.log();
    let stepped_down = log.find(r#""role":"Fenced""#).or_else(|| log.find(r#""role":"Follower""#));
    assert!(stepped_down.is_some() && log.contains("closed"), "{log}");
    assert_all_show(&three, 2).await;
    let root = three.root.path().to_owned();
    let back = three.replicas.remove(stopping).restart(&root);
    three.replicas.push(back);
    let back = three.replicas.last_mut().unwrap();
    until_ready(&mut back.process, back.admin).await;
    three.put(3).await;
    assert_all_show(&three, 3).await;
    let metrics = three.replicas[0].metrics().await;
    for name in ["lag_seconds", "visibility_late_seconds_total"] {
        assert!(metrics.contains(&format!("shoal_replica_{name}{{")), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_acks_primary_the_old_one_tells_how_many_ops_are_lost_once_it_follows() {
    // Long enough for a primary that lost the others to answer meanwhile.
    let mut three = Three::start_with(&["--acks", "primary", "--failover-budget", "10s"]).await;
    for id in 1..=3 {
        three.put(id).await;
    }
    let primary = three.primary().await;
    let old = three.replicas.remove(primary);
    let first = old.told().await;
    // The others end, so that nothing waits for them in the buffers of a connection.
    let others: Vec<Replica> = three.replicas.drain(..).collect();
    for other in &others {
        other.process.signal(Signal::KILL);
    }
    const LOST: u64 = 8;
    for id in 101..101 + LOST {
        assert!(!three.write(id, false).await.visible);
    }
    assert!(old.leads().await);
    old.process.signal(Signal::KILL);
    let root = three.root.path().to_owned();
    for other in others {
        three.replicas.push(other.restart(&root));
    }
    for other in &mut three.replicas {
        until_ready(&mut other.process, other.admin).await;
    }
    let leads = three.primary().await;
    three.put(4).await;
    let unknown = three.replicas[leads].told().await.failover.expect("it came to lead");
    assert_eq!((&unknown.from, unknown.lost_ops), (&first.disk, None));
    let (epoch, former) = (unknown.epoch.unwrap(), unknown.former.unwrap());
    assert!(former.number < epoch.number, "{former:?} {epoch:?}");

    let mut old = old.restart(&root);
    until_ready(&mut old.process, old.admin).await;
    let told = loop {
        match old.told().await {
            told if told.last_epoch >= epoch.number => break told,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let cut = vec![pb::CutOps { epoch: Some(former), ops: LOST, by: epoch.number }];
    assert_eq!(told.cut, cut);
    let counted = format!(r#"shoal_replica_cut_ops_total{{collection="c",shard="c-0"}} {LOST}"#);
    assert!(old.metrics().await.contains(&counted), "{}", old.metrics().await);
    // It is told by what lies on the disk.
    old.process.signal(Signal::KILL);
    let mut old = old.restart(&root);
    until_ready(&mut old.process, old.admin).await;
    assert_eq!(old.told().await.cut, cut);
    // They are in nobody's history.
    three.put(5).await;
    assert_eq!(three.count(Consistency::Strong).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_replica_is_read_and_says_how_stale_it_is() {
    let mut three = Three::start().await;
    three.put(1).await;
    assert_all_show(&three, 1).await;
    let primary = three.primary().await;
    three.replicas.remove(primary).process.kill();
    three.replicas.remove(0).process.kill();
    let allowed = Duration::from_millis(300);
    let options = ReadOptions { max_staleness: Some(allowed), ..LONG.into() };
    let mut before = Duration::ZERO;
    loop {
        let read = three.set.count(None, options).await.unwrap();
        assert_eq!(read.value, 1);
        if before > allowed {
            assert!(read.staleness > before, "{read:?} after {before:?}");
            break;
        }
        before = read.staleness;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_lost_the_others_is_as_stale_as_that_is_ago() {
    let mut three = Three::start().await;
    three.put(1).await;
    let primary = three.primary().await;
    // It has been there for a while, and heard nobody else lead.
    let began = Instant::now();
    assert_eq!(three.count(Consistency::Strong).await, 1);
    let stays = three.replicas.remove(primary);
    three.replicas.drain(..).for_each(|other| other.process.kill());
    while stays.leads().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let read = three.set.count(None, LONG.into()).await.unwrap();
    assert!(!read.staleness.is_zero() && read.staleness <= began.elapsed(), "{read:?}");
}
