//! Tests of the ring: what must never change, and what holds for every number of shards.

use proptest::prelude::*;
use shoal_vector::PointId;

use super::*;

fn id() -> impl Strategy<Value = PointId> {
    prop_oneof![
        any::<u64>().prop_map(PointId::Num),
        any::<u128>().prop_map(|n| {
            let text = format!("{n:032x}");
            text.parse().unwrap_or_else(|_| panic!("{text} is a UUID"))
        }),
    ]
}

/// Disks in the field are filled by these: a change here loses points. The values are the reference implementation's
/// of XXH3 over the canonical bytes.
#[test]
fn slots_of_ids_never_change() {
    let golden = [
        ("0", 5313),
        ("1", 2968),
        ("42", 956),
        ("18446744073709551615", 716),
        ("00000000-0000-0000-0000-000000000000", 4488),
        ("550e8400-e29b-41d4-a716-446655440000", 927),
    ];
    for (text, slot) in golden {
        assert_eq!(slot_of(text.parse().unwrap()), slot, "{text}");
    }
}

/// Tables in the field began as these; a rebuilt one must be the same.
#[test]
fn initial_tables_never_change() {
    assert_eq!(initial(1)[0].to_string(), "0-16383");
    let two: Vec<String> = initial(2).iter().map(SlotSet::to_string).collect();
    assert!(two[0].starts_with("0-511,1024-1535,2048-2559"), "{}", two[0]);
    assert!(two[1].starts_with("512-1023,1536-2047,2560-3071"), "{}", two[1]);
    let three = initial(3);
    assert!(three[0].to_string().starts_with("0-341,1026-1367"), "{}", three[0]);
}

#[test]
fn sequential_ids_do_not_gather_on_one_shard() {
    let shards = initial(4);
    let mut counts = [0usize; 4];
    for n in 0..40_000 {
        let slot = slot_of(PointId::Num(n));
        counts[shards.iter().position(|s| s.contains(slot)).unwrap()] += 1;
    }
    assert!(counts.iter().all(|&n| (9_500..10_500).contains(&n)), "{counts:?}");
}

#[test]
fn wrong_texts_are_refused_by_name() {
    let parse = |text: &str| text.parse::<SlotSet>().unwrap_err();
    assert_eq!(parse("5-3"), SlotError::Reversed(5, 3));
    assert_eq!(parse("0-16384"), SlotError::PastEnd(16_384));
    assert_eq!(parse("0-5,5-9"), SlotError::Twice(5));
    for malformed in ["a", "1-", "-1", "1-2-3", "1,,2", " 1", "+1", "70000", ","] {
        assert!(matches!(parse(malformed), SlotError::Malformed(_)), "{malformed}");
    }
}

proptest! {
    #[test]
    fn every_slot_has_exactly_one_shard_and_shards_differ_by_at_most_one_slot(shards in 1u32..1_500) {
        let sets = initial(shards);
        let mut owners = vec![0u32; usize::from(SLOTS)];
        for set in &sets {
            set.iter().for_each(|slot| owners[usize::from(slot)] += 1);
        }
        prop_assert!(owners.iter().all(|&n| n == 1));
        let (least, most) = (sets.iter().map(SlotSet::len).min(), sets.iter().map(SlotSet::len).max());
        prop_assert!(most.unwrap() - least.unwrap() <= 1);
        prop_assert!(sets.iter().all(|s| s.ranges().len() <= ARCS_PER_SHARD as usize));
    }

    #[test]
    fn sets_print_and_parse_back(slots in proptest::collection::btree_set(0..SLOTS, 0..300)) {
        let set = SlotSet::new(slots.iter().map(|&s| (s, s))).unwrap();
        let parsed: SlotSet = set.to_string().parse().unwrap();
        prop_assert_eq!(&parsed, &set);
        prop_assert_eq!(set.len(), slots.len());
        prop_assert!(set.iter().eq(slots.iter().copied()));
        prop_assert!((0..SLOTS).all(|s| set.contains(s) == slots.contains(&s)));
    }

    #[test]
    fn any_text_parses_or_is_refused_without_a_panic(text in "[0-9,\\- ]{0,40}") {
        if let Ok(set) = text.parse::<SlotSet>() {
            prop_assert_eq!(set.to_string().parse::<SlotSet>(), Ok(set));
        }
    }

    #[test]
    fn every_id_has_a_slot_on_the_ring(id in id()) {
        prop_assert!(slot_of(id) < SLOTS);
    }
}
