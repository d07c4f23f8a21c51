//! The manifest: which segments count, and which of their points died or were edited in later ones.
//!
//! It is replaced whole. Everything in it is as of `flushed_seq`, the last op whose effect is in segments; the log is
//! replayed from there. The bitmaps are here so that opening a shard does not read every id. Invariant: numbers of
//! segments are never used twice; the order is that of their ops, since merged ones take the place of what they were made of.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::OpenError;
use crate::format::{FileKind, seal, unseal, write_sealed};
use crate::log_state::LogState;
use crate::mutable::MutableSegment;
use crate::segment::{Kinds, Segment};
use crate::view::Placed;

pub(crate) const FILE: &str = "manifest";
pub(crate) const SEGMENTS_DIR: &str = "segments";

/// The manifest as it is on disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) flushed_seq: u64,
    /// Points of the shard as of `flushed_seq`.
    pub(crate) points: u64,
    pub(crate) next_segment: u64,
    /// Oldest first.
    pub(crate) segments: Vec<SegmentEntry>,
    /// As of `flushed_seq`.
    pub(crate) log: LogState,
}

/// The manifest as version 1 of the file had it: before the log had epochs.
#[derive(Deserialize)]
struct Manifest1 {
    flushed_seq: u64,
    points: u64,
    next_segment: u64,
    segments: Vec<SegmentEntry>,
}

impl From<Manifest1> for Manifest {
    fn from(Manifest1 { flushed_seq, points, next_segment, segments }: Manifest1) -> Self {
        Self { flushed_seq, points, next_segment, segments, log: LogState::default() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SegmentEntry {
    pub(crate) number: u64,
    /// Ordinals whose points were replaced or deleted later.
    pub(crate) dead: BitmapBytes,
    /// Ordinals whose payloads were edited later.
    pub(crate) edited: BitmapBytes,
}

/// A bitmap in roaring's portable form.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct BitmapBytes(Vec<u8>);

impl BitmapBytes {
    pub(crate) fn of(bitmap: &RoaringBitmap) -> Self {
        let mut bytes = Vec::with_capacity(bitmap.serialized_size());
        // Writing into memory does not fail.
        let _ = bitmap.serialize_into(&mut bytes);
        Self(bytes)
    }

    /// The bitmap, whose greatest member must be below `len`.
    pub(crate) fn read(&self, len: u32) -> Result<RoaringBitmap, String> {
        if self.0.is_empty() {
            return Ok(RoaringBitmap::new());
        }
        let bitmap = RoaringBitmap::deserialize_from(self.0.as_slice())
            .map_err(|error| error.to_string())?;
        match bitmap.max().is_none_or(|greatest| greatest < len) {
            true => Ok(bitmap),
            false => Err("a bitmap holds ordinals that the segment does not have".into()),
        }
    }
}

impl Manifest {
    pub(crate) fn read(dir: &Path, disk_id: Uuid) -> Result<Option<Self>, OpenError> {
        let path = dir.join(FILE);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => {
                let bytes = read.map_err(OpenError::io(&path))?;
                Self::from_bytes(&path, &bytes, disk_id).map(Some)
            }
        }
    }

    /// The bytes of the file that [`Manifest::write`] would write.
    pub(crate) fn to_bytes(&self, disk_id: Uuid) -> io::Result<Vec<u8>> {
        seal(FileKind::Manifest, disk_id, self.flushed_seq, self)
    }

    /// Reads such bytes. `path` is for errors.
    pub(crate) fn from_bytes(path: &Path, bytes: &[u8], disk_id: Uuid) -> Result<Self, OpenError> {
        let (kind, disk) = (FileKind::Manifest, Some(disk_id));
        // Of the body nothing yet: its form depends on the version.
        let (header, ()) = unseal(path, bytes, kind, disk)?;
        let manifest = match header.version {
            1 => unseal::<Manifest1>(path, bytes, kind, disk)?.1.into(),
            _ => unseal::<Manifest>(path, bytes, kind, disk)?.1,
        };
        manifest.checked(path)
    }

    fn checked(self, path: &Path) -> Result<Self, OpenError> {
        let manifest = self;
        let mut numbers: Vec<u64> = manifest.segments.iter().map(|entry| entry.number).collect();
        numbers.sort_unstable();
        if !numbers.is_sorted_by(|a, b| a < b)
            || numbers.last().is_some_and(|last| *last >= manifest.next_segment)
        {
            return Err(OpenError::corrupt(path, "numbers of segments are used twice"));
        }
        Ok(manifest)
    }

    pub(crate) fn write(&self, dir: &Path, disk_id: Uuid) -> Result<(), OpenError> {
        write_sealed(&dir.join(FILE), FileKind::Manifest, disk_id, self.flushed_seq, self)
    }

    /// The manifest after a frozen segment became segment `new`, or nothing if it held nothing. `placed` are the
    /// segments that this manifest names, in its order; `next_segment` is a number that none ever had.
    pub(crate) fn after_flush(
        &self,
        placed: &[Placed],
        frozen: &MutableSegment,
        new: Option<u64>,
        next_segment: u64,
    ) -> Result<Self, String> {
        let mut segments = Vec::with_capacity(self.segments.len() + 1);
        for (entry, placed) in self.segments.iter().zip(placed) {
            debug_assert_eq!(entry.number, placed.segment.number);
            let mut dead = entry.dead.read(placed.segment.len())?;
            let mut edited = entry.edited.read(placed.segment.len())?;
            mark(&placed.segment, frozen, &mut dead, &mut edited);
            segments.push(SegmentEntry {
                number: entry.number,
                dead: BitmapBytes::of(&dead),
                edited: BitmapBytes::of(&edited),
            });
        }
        if let Some(number) = new {
            segments.push(SegmentEntry { number, ..SegmentEntry::default() });
        }
        Ok(Self {
            flushed_seq: frozen.last_seq,
            points: frozen.points_after,
            next_segment,
            segments,
            log: frozen.log.clone(),
        })
    }
}

/// Marks the points of a segment that a newer layer replaced, deleted or edited.
pub(crate) fn mark(
    segment: &Segment,
    newer: &MutableSegment,
    dead: &mut RoaringBitmap,
    edited: &mut RoaringBitmap,
) {
    for (id, entry) in newer.iter() {
        if let Some(spot) = segment.find(*id) {
            match entry.hides_older() {
                true => dead.insert(spot.ordinal),
                false => edited.insert(spot.ordinal),
            };
        }
    }
}

pub(crate) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(SEGMENTS_DIR).join(format!("{number:08}.seg"))
}

/// Opens the segments that a manifest names.
pub(crate) fn open_segments(
    dir: &Path,
    disk_id: Uuid,
    kinds: Kinds<'_>,
    manifest: &Manifest,
) -> Result<Vec<Placed>, OpenError> {
    let open = |entry: &SegmentEntry| {
        let segment =
            Segment::open(&segment_path(dir, entry.number), entry.number, disk_id, kinds)?;
        let bitmap = |bytes: &BitmapBytes| {
            let bitmap = bytes
                .read(segment.len())
                .map_err(|detail| OpenError::corrupt(&dir.join(FILE), detail))?;
            Ok::<_, OpenError>(bitmap)
        };
        let (dead, edited) = (bitmap(&entry.dead)?, bitmap(&entry.edited)?);
        Ok(Placed::new(Arc::new(segment), dead, edited))
    };
    let placed: Vec<Placed> = manifest.segments.iter().map(open).collect::<Result<_, _>>()?;
    let last_seqs =
        placed.iter().map(|placed| placed.segment.last_seq()).chain([manifest.flushed_seq]);
    match last_seqs.is_sorted() {
        true => Ok(placed),
        false => {
            Err(OpenError::corrupt(&dir.join(FILE), "segments hold ops beyond its flushed_seq"))
        }
    }
}
