//! What a shard was last told to index, kept on its disk, so that a restart needs nobody to tell it again.
//!
//! It is configuration that its owner tells whenever it likes. Invariant: what the same owner said later is never replaced
//! by what it said earlier. A file that cannot be read is as good as none.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use shoal_vector::payload::PayloadIndex;
use uuid::Uuid;

use crate::error::OpenError;
use crate::format::{FileKind, read_sealed, seal, unseal, write_sealed};

pub(crate) const FILE: &str = "indexes";

/// See the file's comment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedIndexes {
    /// Who says so: where there may be another under the same name later, something that differs.
    pub owner: String,
    /// The owner's own count of what it said.
    pub version: u64,
    /// The fields to index.
    pub fields: Vec<PayloadIndex>,
}

impl WantedIndexes {
    /// Whether it is to take the place of another.
    pub(crate) fn replaces(&self, old: &WantedIndexes) -> bool {
        self.owner != old.owner || self.version >= old.version
    }

    /// The bytes of the file that [`write`] would write.
    pub(crate) fn to_bytes(&self, disk_id: Uuid) -> io::Result<Vec<u8>> {
        seal(FileKind::Indexes, disk_id, 0, self)
    }

    /// Reads such bytes. `path` is for errors.
    pub(crate) fn from_bytes(path: &Path, bytes: &[u8], disk_id: Uuid) -> Result<Self, OpenError> {
        Ok(unseal(path, bytes, FileKind::Indexes, Some(disk_id))?.1)
    }
}

pub(crate) fn read(dir: &Path, disk_id: Uuid) -> WantedIndexes {
    match read_sealed(&dir.join(FILE), FileKind::Indexes, Some(disk_id)) {
        Ok(read) => read.map(|(_, wanted)| wanted).unwrap_or_default(),
        Err(error) => {
            tracing::warn!(%error, "nothing is indexed until the shard is told again which fields are");
            WantedIndexes::default()
        }
    }
}

pub(crate) fn write(dir: &Path, disk_id: Uuid, wanted: &WantedIndexes) -> Result<(), OpenError> {
    write_sealed(&dir.join(FILE), FileKind::Indexes, disk_id, 0, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_s_later_word_counts_and_a_new_owner_s_first() {
        let said = |owner: &str, version| WantedIndexes {
            owner: owner.into(),
            version,
            fields: Vec::new(),
        };
        assert!(said("a", 3).replaces(&said("a", 2)));
        assert!(said("a", 3).replaces(&said("a", 3)));
        assert!(!said("a", 3).replaces(&said("a", 4)));
        assert!(said("b", 1).replaces(&said("a", 4)));
    }

    #[test]
    fn what_cannot_be_read_is_as_good_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Uuid::from_u128(1);
        assert_eq!(read(dir.path(), disk), WantedIndexes::default());
        let wanted = WantedIndexes { owner: "a".into(), version: 7, fields: Vec::new() };
        write(dir.path(), disk, &wanted).unwrap();
        assert_eq!(read(dir.path(), disk), wanted);
        assert_eq!(read(dir.path(), Uuid::from_u128(2)), WantedIndexes::default());
        std::fs::write(dir.path().join(FILE), b"half a file").unwrap();
        assert_eq!(read(dir.path(), disk), WantedIndexes::default());
    }
}
