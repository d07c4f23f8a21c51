//! Payloads in compressed blocks.
//!
//! Items (JSON texts) are numbered; a block holds consecutive ones, each as length u32 and bytes, compressed together by
//! lz4. The index has 24 bytes a block: first item u32, crc32c u32 of the compressed bytes, offset u64 and length u64
//! in the blocks' section. A block's checksum is verified whenever it is read, so a damaged one never becomes an answer.

use std::collections::HashMap;

use super::layout::{u32_at, u64_at};
use crate::limits::PAYLOAD_BLOCK_BYTES;

pub(super) const INDEX_ENTRY_BYTES: usize = 24;

/// Blocks being filled.
#[derive(Default)]
pub(super) struct BlockWriter {
    items: u32,
    first_of_block: u32,
    block: Vec<u8>,
    pub(super) index: Vec<u8>,
    pub(super) blocks: Vec<u8>,
}

impl BlockWriter {
    pub(super) fn push(&mut self, payload: &[u8]) {
        self.block.extend((payload.len() as u32).to_le_bytes());
        self.block.extend(payload);
        self.items += 1;
        if self.block.len() >= PAYLOAD_BLOCK_BYTES {
            self.close_block();
        }
    }

    pub(super) fn finish(mut self) -> (Vec<u8>, Vec<u8>) {
        self.close_block();
        (self.index, self.blocks)
    }

    fn close_block(&mut self) {
        if self.block.is_empty() {
            return;
        }
        let compressed = lz4_flex::block::compress_prepend_size(&self.block);
        self.index.extend(self.first_of_block.to_le_bytes());
        self.index.extend(crc32c::crc32c(&compressed).to_le_bytes());
        self.index.extend((self.blocks.len() as u64).to_le_bytes());
        self.index.extend((compressed.len() as u64).to_le_bytes());
        self.blocks.extend(compressed);
        self.block.clear();
        self.first_of_block = self.items;
    }
}

/// Blocks in a segment, to read from.
#[derive(Clone, Copy)]
pub(super) struct Blocks<'a> {
    pub(super) index: &'a [u8],
    pub(super) blocks: &'a [u8],
}

/// A block, uncompressed.
#[derive(Default)]
struct Block {
    number: usize,
    bytes: Vec<u8>,
    /// Where each item's bytes lie.
    items: Vec<std::ops::Range<usize>>,
}

impl<'a> Blocks<'a> {
    fn count(self) -> usize {
        self.index.len() / INDEX_ENTRY_BYTES
    }

    fn first_item(self, block: usize) -> Option<u32> {
        u32_at(self.index, block * INDEX_ENTRY_BYTES)
    }

    /// The block that holds an item.
    fn block_of(self, item: u32) -> Option<usize> {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = (low + high) / 2;
            match self.first_item(middle)? <= item {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low.checked_sub(1)
    }

    fn read(self, number: usize) -> Result<Block, String> {
        let at = number * INDEX_ENTRY_BYTES;
        let place = || {
            let (crc, offset) = (u32_at(self.index, at + 4)?, u64_at(self.index, at + 8)? as usize);
            let len = u64_at(self.index, at + 16)? as usize;
            Some((crc, self.blocks.get(offset..offset.checked_add(len)?)?))
        };
        let (crc, compressed) =
            place().ok_or_else(|| format!("payload block {number} lies outside of its section"))?;
        if crc32c::crc32c(compressed) != crc {
            return Err(format!("payload block {number}: checksum does not match"));
        }
        let bytes = lz4_flex::block::decompress_size_prepended(compressed);
        let bytes = bytes.map_err(|error| format!("payload block {number}: {error}"))?;
        let mut items = Vec::new();
        let mut at = 0;
        while let Some(len) = u32_at(&bytes, at) {
            items.push(at + 4..at + 4 + len as usize);
            at += 4 + len as usize;
        }
        Ok(Block { number, bytes, items })
    }
}

/// Remembers the last block that was read of each segment, so that reading in order reads each block once. Belongs to
/// one request.
#[derive(Default)]
pub(crate) struct PayloadCache {
    last: HashMap<u64, Block>,
}

impl PayloadCache {
    /// The bytes of an item of segment `segment`.
    pub(super) fn read(
        &mut self,
        segment: u64,
        blocks: Blocks<'_>,
        item: u32,
    ) -> Result<&[u8], String> {
        let missing = || format!("payload {item} is missing");
        let number = blocks.block_of(item).ok_or_else(missing)?;
        let block = match self.last.entry(segment) {
            std::collections::hash_map::Entry::Vacant(slot) => slot.insert(blocks.read(number)?),
            std::collections::hash_map::Entry::Occupied(slot) => {
                let block = slot.into_mut();
                if block.number != number {
                    *block = blocks.read(number)?;
                }
                block
            }
        };
        let first = blocks.first_item(number).ok_or_else(missing)?;
        let range = block.items.get((item - first) as usize).ok_or_else(missing)?;
        block.bytes.get(range.clone()).ok_or_else(missing)
    }
}
