//! What every file of a shard begins with, and small files that are one header and one body.

mod header;
mod sealed;

pub(crate) use header::{FileKind, HEADER_BYTES, Header, HeaderError};
pub(crate) use sealed::{read_sealed, seal, unseal, write_sealed};
