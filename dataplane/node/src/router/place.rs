//! Splits an op into the parts that each shard of a collection must do. Pure.
//!
//! Invariant: every point and id of the op is in exactly one part, that of the shard its slot belongs to, in the order
//! it had; an op that selects by filter goes whole to every shard.

use shoal_proto::routing::RoutingTable;
use shoal_vector::op::Selector;
use shoal_vector::{Op, PointId};

/// The parts of an op, by position of the shard in the table. An op on nothing has no parts.
pub(super) fn split(op: Op, table: &RoutingTable) -> Vec<(usize, Op)> {
    match op {
        Op::Upsert(points) => {
            let parts = by_shard(points, table, |point| point.id);
            parts.into_iter().map(|(shard, points)| (shard, Op::Upsert(points))).collect()
        }
        Op::UpsertWithSparse(points) => {
            let parts = by_shard(points, table, |point| point.point.id);
            parts.into_iter().map(|(shard, points)| (shard, Op::UpsertWithSparse(points))).collect()
        }
        Op::Delete(points) => split_selector(points, table, Op::Delete),
        Op::SetPayload { payload, key, points } => split_selector(points, table, |points| {
            Op::SetPayload { payload: payload.clone(), key: key.clone(), points }
        }),
        Op::OverwritePayload { payload, points } => split_selector(points, table, |points| {
            Op::OverwritePayload { payload: payload.clone(), points }
        }),
        Op::DeletePayload { keys, points } => {
            split_selector(points, table, |points| Op::DeletePayload { keys: keys.clone(), points })
        }
        Op::ClearPayload(points) => split_selector(points, table, Op::ClearPayload),
        Op::UpdateVectors(points) => {
            let parts = by_shard(points, table, |point| point.id);
            parts.into_iter().map(|(shard, points)| (shard, Op::UpdateVectors(points))).collect()
        }
        Op::DeleteVectors { names, points } => split_selector(points, table, |points| {
            Op::DeleteVectors { names: names.clone(), points }
        }),
    }
}

/// Items by the shard their id belongs to: shards ascending, items in the order given.
pub(super) fn by_shard<T>(
    items: Vec<T>,
    table: &RoutingTable,
    id: impl Fn(&T) -> PointId,
) -> Vec<(usize, Vec<T>)> {
    let shards = table.shards().len();
    if shards == 1 {
        return if items.is_empty() { Vec::new() } else { vec![(0, items)] };
    }
    let mut parts: Vec<Vec<T>> = std::iter::repeat_with(Vec::new).take(shards).collect();
    for item in items {
        // The table only names positions it has.
        if let Some(part) = parts.get_mut(table.shard_of(id(&item))) {
            part.push(item);
        }
    }
    parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty()).collect()
}

fn split_selector(
    points: Selector,
    table: &RoutingTable,
    op: impl Fn(Selector) -> Op,
) -> Vec<(usize, Op)> {
    match points {
        Selector::Ids(ids) => {
            let parts = by_shard(ids, table, |id| *id);
            parts.into_iter().map(|(shard, ids)| (shard, op(Selector::Ids(ids)))).collect()
        }
        Selector::Filter(filter) => (0..table.shards().len())
            .map(|shard| (shard, op(Selector::Filter(filter.clone()))))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shoal_vector::{Filter, Point, PointVectors};

    use super::*;

    fn table(shards: usize) -> RoutingTable {
        RoutingTable::initial((0..shards).map(|n| format!("s-{n}"))).unwrap()
    }

    #[test]
    fn ops_by_filter_go_whole_to_every_shard() {
        let op = |points| Op::SetPayload { payload: b"{}".to_vec(), key: Some("a".into()), points };
        let by_filter = op(Selector::Filter(Filter::default()));
        let parts = split(by_filter.clone(), &table(3));
        assert_eq!(parts, (0..3).map(|shard| (shard, by_filter.clone())).collect::<Vec<_>>());
    }

    #[test]
    fn ops_on_nothing_have_no_parts() {
        assert!(split(Op::Upsert(vec![]), &table(1)).is_empty());
        assert!(split(Op::Delete(Selector::Ids(vec![])), &table(3)).is_empty());
    }

    proptest! {
        #[test]
        fn every_point_is_in_the_part_of_its_shard_once_and_in_order(
            ids in proptest::collection::vec(0u64..50, 0..100), shards in 1usize..9,
        ) {
            let table = table(shards);
            let point = |(n, &id): (usize, &u64)| Point {
                id: PointId::Num(id), vectors: vec![(String::new(), vec![n as f32])], payload: vec![],
            };
            let points: Vec<Point> = ids.iter().enumerate().map(point).collect();
            let parts = split(Op::Upsert(points.clone()), &table);
            prop_assert!(parts.windows(2).all(|w| w[0].0 < w[1].0));
            let mut seen = 0;
            for (shard, part) in parts {
                let Op::Upsert(part) = part else { panic!("an upsert splits into upserts") };
                prop_assert!(!part.is_empty());
                let expected: Vec<Point> =
                    points.iter().filter(|p| table.shard_of(p.id) == shard).cloned().collect();
                prop_assert_eq!(&part, &expected);
                seen += part.len();
            }
            prop_assert_eq!(seen, points.len());
        }

        #[test]
        fn vectors_go_where_their_points_are(ids in proptest::collection::vec(any::<u64>(), 1..40), shards in 1usize..5) {
            let table = table(shards);
            let point = |&id: &u64| PointVectors {
                id: PointId::Num(id), vectors: vec![(id.to_string(), vec![])], sparse: vec![],
            };
            let points: Vec<PointVectors> = ids.iter().map(point).collect();
            let mut seen = 0;
            for (shard, part) in split(Op::UpdateVectors(points), &table) {
                let Op::UpdateVectors(part) = part else { panic!("same kind") };
                for point in part {
                    prop_assert_eq!((table.shard_of(point.id), &point.vectors[0].0), (shard, &point.id.to_string()));
                    seen += 1;
                }
            }
            prop_assert_eq!(seen, ids.len());
        }

        #[test]
        fn payload_ops_keep_their_content_in_every_part(
            ids in proptest::collection::vec(any::<u64>(), 1..40), shards in 1usize..5,
        ) {
            let ids: Vec<PointId> = ids.into_iter().map(PointId::Num).collect();
            let op = Op::DeletePayload { keys: vec!["k".into()], points: Selector::Ids(ids.clone()) };
            let mut back = Vec::new();
            for (_, part) in split(op, &table(shards)) {
                let Op::DeletePayload { keys, points: Selector::Ids(ids) } = part else { panic!("same kind") };
                prop_assert_eq!(keys, vec!["k".to_owned()]);
                back.extend(ids);
            }
            let mut ids = ids;
            ids.sort_unstable();
            back.sort_unstable();
            prop_assert_eq!(back, ids);
        }
    }
}
