//! One record of the log.
//!
//! Layout, little-endian: length u32 (of all after the checksum) · crc32c u32 · kind u8 · place in group u32 · epoch
//! u64 · nonce u64 · seq u64 · client id u64 · op id u64 · body. The checksum covers the disk's id, the length, and
//! all after it. The disk's id is in it so that no client can place bytes in a payload that pass for a record.
//!
//! The place in the group (how many records before it were not known to be durable when it was written) is what tells a
//! torn write from damage: after a record that does not read, one whose group begins later proves that the bad one had been
//! synced. So a group may be written while the one before it is being synced.

use uuid::Uuid;

use crate::limits::MAX_OP_BYTES;

/// Bytes before those that `length` counts.
const PREFIX: usize = 8;
/// Bytes that `length` counts besides the body.
const FIXED: usize = 1 + 4 + 5 * 8;

/// What a record is. Numbers are on disk and never change; a number that is not here stops the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// An op, encoded.
    Op = 1,
    /// Nothing, from a new primary.
    NoOp = 2,
    /// The members of the shard.
    Config = 3,
    /// Begins the handover of a split.
    Barrier = 4,
    /// Undoes a barrier.
    Abort = 5,
}

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        [Kind::Op, Kind::NoOp, Kind::Config, Kind::Barrier, Kind::Abort]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// A record, its body borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// The kind's number; [`Record::kind`] says whether it is known.
    pub(crate) kind_number: u8,
    pub(crate) place_in_group: u32,
    pub(crate) epoch: u64,
    pub(crate) nonce: u64,
    pub(crate) seq: u64,
    pub(crate) client_id: u64,
    pub(crate) op_id: u64,
    pub(crate) body: &'a [u8],
}

impl<'a> Record<'a> {
    pub(crate) fn kind(&self) -> Option<Kind> {
        Kind::from_number(self.kind_number)
    }

    /// Bytes of it in a file.
    pub(crate) fn len(&self) -> usize {
        PREFIX + FIXED + self.body.len()
    }

    /// Seq of the first record that was not known to be durable when this one was written.
    pub(crate) fn group_first(&self) -> u64 {
        self.seq.saturating_sub(u64::from(self.place_in_group))
    }

    /// Appends the record to a buffer. The body is at most [`MAX_OP_BYTES`] long; callers check that first.
    pub(crate) fn encode(&self, disk: Uuid, out: &mut Vec<u8>) {
        let start = out.len();
        let length = (FIXED + self.body.len()) as u32;
        out.extend(length.to_le_bytes());
        out.extend([0; 4]);
        out.push(self.kind_number);
        out.extend(self.place_in_group.to_le_bytes());
        for number in [self.epoch, self.nonce, self.seq, self.client_id, self.op_id] {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.body);
        let crc = checksum(disk, length, &out[start + PREFIX..]);
        out[start + 4..start + PREFIX].copy_from_slice(&crc.to_le_bytes());
    }

    /// The record at the beginning of `bytes` and its whole length, or `None` if there is no valid one.
    pub(crate) fn decode(disk: Uuid, bytes: &'a [u8]) -> Option<(Self, usize)> {
        let prefix = *bytes.first_chunk()?;
        let crc = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
        let end = Self::len_from(prefix)?;
        let length = u32::from_le_bytes(prefix);
        let counted = bytes.get(PREFIX..end)?;
        if checksum(disk, length, counted) != crc {
            return None;
        }
        let (fixed, body) = counted.split_at_checked(FIXED)?;
        let number = |i: usize| {
            fixed.get(5 + 8 * i..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
        };
        let record = Record {
            kind_number: *fixed.first()?,
            place_in_group: u32::from_le_bytes(*fixed.get(1..)?.first_chunk()?),
            epoch: number(0)?,
            nonce: number(1)?,
            seq: number(2)?,
            client_id: number(3)?,
            op_id: number(4)?,
            body,
        };
        Some((record, end))
    }

    /// The whole length of the record that begins with these bytes, if they can begin one; nothing is checked.
    pub(crate) fn len_from(prefix: [u8; 4]) -> Option<usize> {
        let length = u32::from_le_bytes(prefix) as usize;
        (FIXED..=FIXED + MAX_OP_BYTES).contains(&length).then_some(PREFIX + length)
    }

    /// Whether bytes could begin a record whose seq lies in `seqs`, without the cost of the checksum.
    pub(crate) fn may_begin(bytes: &[u8], seqs: &std::ops::Range<u64>) -> bool {
        let length = bytes.first_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize);
        let seq_at = PREFIX + 5 + 2 * 8;
        let seq = bytes
            .get(seq_at..)
            .and_then(|rest| rest.first_chunk())
            .map(|seq| u64::from_le_bytes(*seq));
        (FIXED..=FIXED + MAX_OP_BYTES).contains(&length)
            && PREFIX + length <= bytes.len()
            && seq.is_some_and(|seq| seqs.contains(&seq))
    }
}

/// Makes the checksums of what looks like records right, for fuzzing.
pub(crate) fn reseal(disk: Uuid, bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(prefix) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>())
        && let Some(len) = Record::len_from(*prefix)
        && let Some(record) = bytes.get_mut(at..at + len)
    {
        let crc = checksum(disk, (len - PREFIX) as u32, &record[PREFIX..]);
        record[4..PREFIX].copy_from_slice(&crc.to_le_bytes());
        at += len;
    }
}

fn checksum(disk: Uuid, length: u32, counted: &[u8]) -> u32 {
    let crc = crc32c::crc32c(disk.as_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &length.to_le_bytes()), counted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DISK: Uuid = Uuid::from_u128(77);

    proptest! {
        #[test]
        fn a_record_reads_back_and_no_damaged_one_does(
            kind_number in any::<u8>(), place_in_group in any::<u32>(), numbers in any::<[u64; 5]>(),
            body in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), bit in 0u8..8
        ) {
            let [epoch, nonce, seq, client_id, op_id] = numbers;
            let record = Record { kind_number, place_in_group, epoch, nonce, seq, client_id, op_id, body: &body };
            let mut bytes = vec![];
            record.encode(DISK, &mut bytes);
            prop_assert_eq!(Record::decode(DISK, &bytes), Some((record, bytes.len())));
            prop_assert!(Record::may_begin(&bytes, &(seq..seq.saturating_add(1))) || seq == u64::MAX);
            prop_assert_eq!(Record::decode(Uuid::from_u128(78), &bytes), None);
            let at = at.index(bytes.len());
            prop_assert_eq!(Record::decode(DISK, &bytes[..at]), None);
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(Record::decode(DISK, &bytes), None);
        }
    }

    #[test]
    fn numbers_of_kinds_do_not_change() {
        let kinds = [Kind::Op, Kind::NoOp, Kind::Config, Kind::Barrier, Kind::Abort];
        assert_eq!(kinds.map(|kind| kind as u8), [1, 2, 3, 4, 5]);
        assert_eq!(Kind::from_number(6), None);
    }
}
