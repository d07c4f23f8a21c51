//! Names for objects and shards out of client-facing names, which may hold any characters. Pure.

use xxhash_rust::xxh3::xxh3_64;

/// Longest readable part. With the hash, a shard's and a replica's suffix and what a StatefulSet's controller appends,
/// the longest label built from it stays under 63 characters.
const SLUG: usize = 24;

/// A DNS label that tells a person which collection it is and tells apart names that look alike: a slug and 40 bits of
/// a hash of the name.
pub(super) fn object_name(client_name: &str) -> String {
    let mut slug = String::with_capacity(SLUG);
    for c in client_name.chars() {
        if slug.len() == SLUG {
            break;
        }
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => slug.push(c),
            // One dash for any run of others, none at the start: a label begins with a letter or digit.
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    let slug = slug.trim_end_matches('-');
    // Services must begin with a letter, and a Service is named after the collection.
    let slug = match slug.chars().next() {
        Some(first) if first.is_ascii_alphabetic() => slug.to_owned(),
        Some(_) => format!("c-{slug}"),
        None => "c".to_owned(),
    };
    format!("{slug}-{:010x}", xxh3_64(client_name.as_bytes()) & 0xff_ffff_ffff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_stay_readable() {
        assert!(object_name("my_collection").starts_with("my-collection-"));
        assert!(object_name("Straße / Größe").starts_with("stra-e-gr-e-"));
        assert!(object_name("2024").starts_with("c-2024-"));
        assert!(object_name("日本語").starts_with("c-"));
    }

    #[test]
    fn names_that_look_alike_are_told_apart_and_each_is_always_the_same() {
        assert_ne!(object_name("my_collection"), object_name("my-collection"));
        assert_eq!(object_name("a"), object_name("a"));
    }

    proptest! {
        #[test]
        fn every_name_becomes_a_dns_label_with_room_for_suffixes(name in "\\PC{0,300}") {
            let object = object_name(&name);
            prop_assert!(object.len() <= 38, "{object}");
            prop_assert!(object.starts_with(|c: char| c.is_ascii_lowercase()));
            prop_assert!(object.ends_with(|c: char| c.is_ascii_alphanumeric()));
            prop_assert!(object.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
        }
    }
}
