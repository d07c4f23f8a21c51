//! Messages between replicas as bytes: a version, then postcard. Disk ids as bytes. Pure.
//!
//! Invariant: decoding never panics, and what decodes is what was encoded.

use bytes::Bytes;
use shoal_consensus::{Body, DiskId, Entry, Epoch, Message};
use shoal_proto::pb;

/// Version of the encoding. Version N reads N-1; what is sent is in the version of the protocol that the other side speaks.
const VERSION: u8 = 1;

/// Bytes that are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Of another version.
    #[error(
        "a message of version {found}, this program reads {VERSION}: upgrade it, or go back with the sender"
    )]
    Version {
        /// What it says.
        found: u8,
    },
    /// Of this version, but damaged.
    #[error("no message: {0}")]
    Damaged(String),
    /// Neither a disk id.
    #[error("a disk id has 16 bytes, not {0}")]
    Disk(usize),
    /// Neither a message nor an offer.
    #[error("it holds nothing")]
    Empty,
}

/// A message as it travels.
pub fn encode(message: &Message) -> Result<Bytes, WireError> {
    let bytes = Vec::with_capacity(size(message));
    let bytes = postcard::to_extend(&VERSION, bytes)
        .and_then(|bytes| postcard::to_extend(message, bytes))
        .map_err(|error| WireError::Damaged(error.to_string()))?;
    Ok(bytes.into())
}

/// The message these bytes are.
pub fn decode(bytes: &[u8]) -> Result<Message, WireError> {
    match bytes.split_first() {
        None => Err(WireError::Empty),
        Some((&VERSION, body)) => match postcard::take_from_bytes(body) {
            Ok((message, [])) => Ok(message),
            Ok((_, rest)) => Err(WireError::Damaged(format!("{} bytes follow it", rest.len()))),
            Err(error) => Err(WireError::Damaged(error.to_string())),
        },
        Some((&found, _)) => Err(WireError::Version { found }),
    }
}

/// Bytes that a message takes, roughly.
pub fn size(message: &Message) -> usize {
    let entries: &[Entry] = match &message.body {
        Body::Append { entries, .. } => entries,
        _ => &[],
    };
    size_of::<Message>() + entries.iter().map(Entry::size).sum::<usize>()
}

/// A disk id as it travels.
pub fn encode_disk(disk: DiskId) -> Bytes {
    Bytes::copy_from_slice(&disk.0.to_be_bytes())
}

/// The disk id these bytes are.
pub fn decode_disk(bytes: &[u8]) -> Result<DiskId, WireError> {
    let number = bytes.try_into().map_err(|_| WireError::Disk(bytes.len()))?;
    Ok(DiskId(u128::from_be_bytes(number)))
}

/// An epoch as it travels.
pub fn encode_epoch(epoch: Epoch) -> pb::Epoch {
    pb::Epoch { number: epoch.number, nonce: epoch.nonce }
}

/// The epoch that was sent; none was before the first.
pub fn decode_epoch(epoch: Option<pb::Epoch>) -> Epoch {
    epoch.map_or(Epoch::NONE, |epoch| Epoch { number: epoch.number, nonce: epoch.nonce })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shoal_consensus::{Config, Identity, Incarnation, Members, Position, Promise, What};

    use super::*;

    fn from() -> Identity {
        Identity { disk: DiskId(0x0102_0304), incarnation: Incarnation(0x99) }
    }

    fn epoch(number: u64) -> Epoch {
        Epoch { number, nonce: 0xabcd }
    }

    fn append() -> Message {
        let op = What::Op { client_id: 5, op_id: 6, body: Bytes::from_static(b"op") };
        let members = Members::majority(1, vec![DiskId(1), DiskId(2), DiskId(3)]).unwrap();
        let joint = Config::Joint { old: members.clone(), new: members.of_generation(2) };
        let entry = |seq, what| Entry { at: Position { epoch: epoch(3), seq }, what };
        let entries = vec![entry(8, What::NoOp), entry(9, op), entry(10, What::Config(joint))];
        let prev = Position { epoch: epoch(2), seq: 7 };
        let body = Body::Append { epoch: epoch(3), prev, entries, commit: 6, round: 300 };
        Message { from: from(), body }
    }

    /// What version 1 sent is read for as long as version 2 is the newest.
    #[test]
    fn the_bytes_of_version_1_stay_as_they_are() {
        let golden: [(Message, &str); 3] = [
            (append(), GOLDEN_APPEND),
            (Message { from: from(), body: Body::TakeOver(epoch(1)) }, GOLDEN_TAKE_OVER),
            (
                Message {
                    from: from(),
                    body: Body::Promise(Promise {
                        epoch: epoch(4),
                        last: Position { epoch: epoch(3), seq: 10 },
                        config: None,
                    }),
                },
                GOLDEN_PROMISE,
            ),
        ];
        for (message, golden) in golden {
            let bytes = encode(&message).unwrap();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, golden);
            assert_eq!(decode(&bytes), Ok(message));
        }
    }

    const GOLDEN_APPEND: &str = "018486880899010403cdd70202cdd702070303cdd702080003cdd70209010506026f7003cdd7020a020101030102030202030102030206ac02";
    const GOLDEN_TAKE_OVER: &str = "018486880899010901cdd702";
    const GOLDEN_PROMISE: &str = "018486880899010104cdd70203cdd7020a00";

    #[test]
    fn other_versions_and_damaged_messages_are_refused() {
        let good = encode(&append()).unwrap();
        let mut newer = good.to_vec();
        newer[0] = 2;
        let refused = decode(&newer).unwrap_err();
        assert_eq!(refused, WireError::Version { found: 2 });
        assert!(refused.to_string().contains("upgrade"));
        assert_eq!(decode(&[]), Err(WireError::Empty));
        assert!(matches!(decode(&good[..good.len() - 1]), Err(WireError::Damaged(_))));
        let longer = [&good[..], &[0]].concat();
        assert!(matches!(decode(&longer), Err(WireError::Damaged(_))));
        assert_eq!(decode_disk(&[0; 3]), Err(WireError::Disk(3)));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused_without_a_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200), ours in any::<bool>()
        ) {
            if let (Some(first), true) = (bytes.first_mut(), ours) {
                *first = VERSION;
            }
            let _ = decode(&bytes);
        }

        #[test]
        fn changed_bytes_never_panic(at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut bytes = encode(&append()).unwrap().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = decode(&bytes);
        }

        #[test]
        fn disks_and_epochs_come_back(disk in any::<u128>(), number in any::<u64>(), nonce in any::<u64>()) {
            prop_assert_eq!(decode_disk(&encode_disk(DiskId(disk))), Ok(DiskId(disk)));
            let epoch = Epoch { number, nonce };
            prop_assert_eq!(decode_epoch(Some(encode_epoch(epoch))), epoch);
        }
    }
}
