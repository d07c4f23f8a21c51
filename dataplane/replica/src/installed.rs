//! What a disk says after a snapshot took the place of what it held.

use shoal_consensus::{Config, Input, Position, Recent, Restored, What};
use shoal_shard::journal::Recovered;

use crate::convert::{self, ConfigError};

/// See the file's comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The last entry.
    pub at: Position,
    config: Option<Config>,
    recent: Vec<Recent>,
}

/// Reads it from what was found when the disk was opened again.
pub fn installed(recovered: Recovered) -> Result<Installed, ConfigError> {
    convert::restored(recovered).map(Installed::from)
}

impl From<Restored> for Installed {
    fn from(restored: Restored) -> Self {
        let entries = &restored.entries;
        let newest = entries.iter().rev().find_map(|entry| match &entry.what {
            What::Config(config) => Some(config.clone()),
            _ => None,
        });
        let recent = restored.recent.into_iter().chain(entries.iter().filter_map(Recent::of));
        Installed {
            at: entries.last().map_or(restored.base, |entry| entry.at),
            config: newest.or(restored.config.map(|(_, config)| config)),
            recent: recent.collect(),
        }
    }
}

impl Installed {
    /// What the rules are told.
    pub fn input(self) -> Input {
        Input::Installed { at: self.at, config: self.config, recent: self.recent }
    }
}
