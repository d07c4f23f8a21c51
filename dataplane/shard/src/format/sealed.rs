//! Small files that are replaced whole: a header, then a body whose length and checksum the header holds.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{FileKind, HEADER_BYTES, Header, HeaderError};
use crate::disk;
use crate::error::OpenError;

/// Writes `value` in place of the file, all or nothing.
pub(crate) fn write_sealed<T: Serialize>(
    path: &Path,
    kind: FileKind,
    disk_id: Uuid,
    first_seq: u64,
    value: &T,
) -> Result<(), OpenError> {
    let write = |file: &mut fs::File| file.write_all(&seal(kind, disk_id, first_seq, value)?);
    disk::replace_file(path, write).map_err(OpenError::io(path))
}

/// What such a file holds.
pub(crate) fn seal<T: Serialize>(
    kind: FileKind,
    disk_id: Uuid,
    first_seq: u64,
    value: &T,
) -> io::Result<Vec<u8>> {
    let mut bytes = postcard::to_extend(value, vec![0; HEADER_BYTES]).map_err(io::Error::other)?;
    let (place, body) = bytes.split_at_mut(HEADER_BYTES);
    let mut header = Header::new(kind, disk_id, first_seq);
    header.body_len = body.len() as u64;
    header.body_crc = crc32c::crc32c(body);
    place.copy_from_slice(&header.to_bytes());
    Ok(bytes)
}

/// Reads the file; `None` if there is none.
pub(crate) fn read_sealed<T: DeserializeOwned>(
    path: &Path,
    kind: FileKind,
    disk_id: Option<Uuid>,
) -> Result<Option<(Header, T)>, OpenError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(OpenError::io(path))?,
    };
    unseal(path, &bytes, kind, disk_id).map(Some)
}

/// Reads what such a file holds. `path` is for errors.
pub(crate) fn unseal<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
    kind: FileKind,
    disk_id: Option<Uuid>,
) -> Result<(Header, T), OpenError> {
    let header = Header::read(bytes, kind, disk_id).map_err(|error| match error {
        HeaderError::Corrupt(detail) => OpenError::corrupt(path, detail),
        HeaderError::TooNew { .. } => OpenError::too_new(path, error.to_string()),
    })?;
    let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
    if body.len() as u64 != header.body_len {
        return Err(OpenError::corrupt(
            path,
            format!("{} bytes instead of {}", body.len(), header.body_len),
        ));
    }
    if crc32c::crc32c(body) != header.body_crc {
        return Err(OpenError::corrupt(path, "checksum of the body does not match"));
    }
    match postcard::from_bytes(body) {
        Ok(value) => Ok((header, value)),
        Err(error) => Err(OpenError::corrupt(path, format!("body: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_reads_back_and_any_damage_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let read = || read_sealed::<Vec<u32>>(&path, FileKind::Manifest, None);
        assert!(read().unwrap().is_none());
        write_sealed(&path, FileKind::Manifest, Uuid::nil(), 3, &vec![1u32, 2, 300]).unwrap();
        let (header, value) = read().unwrap().unwrap();
        assert_eq!((header.first_seq, value), (3, vec![1, 2, 300]));
        let good = fs::read(&path).unwrap();
        for byte in 0..good.len() {
            let mut bad = good.clone();
            bad[byte] ^= 0x10;
            fs::write(&path, &bad).unwrap();
            assert!(matches!(read(), Err(OpenError::Corrupt { .. })), "byte {byte}");
            fs::write(&path, &good[..byte]).unwrap();
            assert!(matches!(read(), Err(OpenError::Corrupt { .. })), "cut at {byte}");
        }
    }
}
