//! Vectors that are the same: identical texts, zero vectors, defaults.
//!
//! Pruning keeps one link to a place, so of many points at one place most would have none that leads to them. They are
//! put in a ring: each links to the next few, and who reaches one reaches all, one step after the other.

use std::collections::HashMap;

use super::rows::Rows;

/// Links of a node that lead along its ring; fewer would make a walk around a large one long.
const RING_LINKS: usize = 8;

/// Adds the links of rings; lists stay within `max_links`. `order` says which row a node is.
pub(super) fn link_twins(links: &mut [Vec<u32>], max_links: usize, rows: &Rows, order: &[u32]) {
    let mut places: HashMap<&[u8], Vec<u32>> = HashMap::new();
    for (node, &row) in (0..).zip(order) {
        places.entry(rows.bytes(row)).or_default().push(node);
    }
    for ring in places.into_values().filter(|ring| ring.len() > 1) {
        link_ring(links, max_links, &ring);
    }
}

fn link_ring(links: &mut [Vec<u32>], max_links: usize, ring: &[u32]) {
    let along = RING_LINKS.min(ring.len() - 1).min(max_links / 2);
    for (at, &node) in ring.iter().enumerate() {
        let Some(list) = links.get_mut(node as usize) else { continue };
        // Ascending, as nodes are counted.
        list.retain(|link| ring.binary_search(link).is_err());
        list.truncate(max_links - along);
        list.extend((1..=along).map(|step| ring[(at + step) % ring.len()]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reaches_one_of_a_ring_reaches_all_and_still_leaves_it() {
        let ring: Vec<u32> = (0..100).map(|i| i * 3).collect();
        let mut links: Vec<Vec<u32>> =
            (0..300).map(|node| (0..12).map(|i| (node + i + 1) % 300).collect()).collect();
        link_ring(&mut links, 12, &ring);
        let mut seen = vec![false; 300];
        let mut open = vec![ring[7]];
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut seen[node as usize], true) {
                open.extend(links[node as usize].iter().filter(|&link| link % 3 == 0));
            }
        }
        assert!(ring.iter().all(|&node| seen[node as usize]));
        assert!(links.iter().all(|list| list.len() <= 12));
        assert!(ring.iter().all(|&node| links[node as usize].iter().any(|link| link % 3 != 0)));
    }

    #[test]
    fn two_of_a_kind_link_to_each_other_once() {
        let mut links = vec![vec![1, 2], vec![2], vec![0]];
        link_ring(&mut links, 16, &[0, 2]);
        assert_eq!(links, [vec![1, 2], vec![2], vec![0]]);
    }
}
