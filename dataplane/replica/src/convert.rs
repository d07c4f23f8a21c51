//! Entries as the rules see them <-> entries as a disk has them.
//!
//! The members lie in the log as a version byte and postcard. Invariant: what was converted there and back is the same.

use bytes::Bytes;
use shoal_consensus::{self as rules, Config, DiskId, Recent, Restored};
use shoal_shard::journal::{self as disk, RecentOp, Recovered};

/// Version of the encoding of members in the log.
const VERSION: u8 = 1;

// Both sides have to forget ops at the same time.
const _: () = assert!(rules::RECENT_OPS == shoal_shard::limits::RECENT_OPS);

/// Members in a log that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the members at seq {seq} cannot be read: {detail}; run the version of shoal that wrote them, or a later one"
)]
pub struct ConfigError {
    seq: u64,
    detail: String,
}

/// A disk's id.
pub fn disk_id(id: uuid::Uuid) -> DiskId {
    DiskId(id.as_u128())
}

/// An epoch for the disk.
pub fn epoch_to_disk(epoch: rules::Epoch) -> disk::Epoch {
    disk::Epoch { number: epoch.number, nonce: epoch.nonce }
}

/// An epoch from the disk.
pub fn epoch_from_disk(epoch: disk::Epoch) -> rules::Epoch {
    rules::Epoch { number: epoch.number, nonce: epoch.nonce }
}

/// A place in the log from the disk.
pub fn position_from_disk(at: disk::Position) -> rules::Position {
    rules::Position { epoch: epoch_from_disk(at.epoch), seq: at.seq }
}

/// An entry for the disk.
pub fn entry_to_disk(entry: rules::Entry) -> disk::Entry {
    let at = disk::Position { epoch: epoch_to_disk(entry.at.epoch), seq: entry.at.seq };
    let what = match entry.what {
        rules::What::NoOp => disk::What::NoOp,
        rules::What::Op { client_id, op_id, body } => disk::What::Op { client_id, op_id, body },
        rules::What::Config(config) => disk::What::Config(encode_config(&config)),
    };
    disk::Entry { at, what }
}

/// An entry from the disk.
pub fn entry_from_disk(entry: disk::Entry) -> Result<rules::Entry, ConfigError> {
    let what = match entry.what {
        disk::What::NoOp => rules::What::NoOp,
        disk::What::Op { client_id, op_id, body } => rules::What::Op { client_id, op_id, body },
        disk::What::Config(body) => rules::What::Config(decode_config(entry.at.seq, &body)?),
    };
    Ok(rules::Entry { at: position_from_disk(entry.at), what })
}

/// What a disk held, as a replica begins with it.
pub fn restored(found: Recovered) -> Result<Restored, ConfigError> {
    let config = match found.config {
        Some((seq, body)) => Some((seq, decode_config(seq, &body)?)),
        None => None,
    };
    let entries = found.entries.into_iter().map(entry_from_disk).collect::<Result<_, _>>()?;
    let recent = found.recent.into_iter().map(recent).collect();
    Ok(Restored { base: position_from_disk(found.base), config, entries, recent })
}

fn recent(op: RecentOp) -> Recent {
    Recent { client_id: op.client_id, op_id: op.op_id, seq: op.seq }
}

#[expect(
    clippy::expect_used,
    reason = "postcard fails only on sequences of unknown length, and members have none"
)]
fn encode_config(config: &Config) -> Bytes {
    postcard::to_extend(config, vec![VERSION]).expect("encodes into memory").into()
}

fn decode_config(seq: u64, bytes: &[u8]) -> Result<Config, ConfigError> {
    let error = |detail: String| Err(ConfigError { seq, detail });
    match bytes.split_first() {
        Some((&VERSION, body)) => match postcard::take_from_bytes(body) {
            Ok((config, [])) => Ok(config),
            Ok((_, rest)) => error(format!("{} bytes follow them", rest.len())),
            Err(cause) => error(cause.to_string()),
        },
        Some((version, _)) => error(format!("they are of version {version}")),
        None => error("there are none".into()),
    }
}

#[cfg(test)]
mod tests {
    use shoal_consensus::Members;

    use super::*;

    fn joint() -> Config {
        let members = |generation, disks: [u128; 3]| {
            Members::majority(generation, disks.map(DiskId).to_vec()).unwrap()
        };
        Config::Joint { old: members(1, [1, 2, 3]), new: members(2, [2, 3, 400]) }
    }

    #[test]
    fn the_encoding_of_members_on_disk_does_not_change() {
        // If this fails, logs that exist can no longer be read: restore the encoding, or raise VERSION and read both.
        let expected = [1, 1, 1, 3, 1, 2, 3, 2, 2, 3, 2, 3, 0x90, 3, 2];
        assert_eq!(encode_config(&joint())[..], expected);
        assert_eq!(decode_config(7, &expected), Ok(joint()));
        for cut in 0..expected.len() {
            assert!(decode_config(7, &expected[..cut]).is_err(), "cut at {cut}");
        }
        let newer = decode_config(7, &[9]).unwrap_err().to_string();
        assert!(newer.contains("seq 7") && newer.contains("version 9"), "{newer}");
    }

    #[test]
    fn entries_come_back_as_they_went() {
        let epoch = rules::Epoch { number: 3, nonce: u64::MAX };
        let op = rules::What::Op { client_id: 1, op_id: 2, body: Bytes::from_static(b"op") };
        for (seq, what) in [(1, rules::What::NoOp), (2, op), (3, rules::What::Config(joint()))] {
            let entry = rules::Entry { at: rules::Position { epoch, seq }, what };
            assert_eq!(entry_from_disk(entry_to_disk(entry.clone())), Ok(entry));
        }
    }
}
