//! Whether a request came to the shard that it was meant for.

use shoal_proto::{pb, version};
use tonic::Status;

/// The shard that a server is.
#[derive(Clone, Debug)]
pub struct Addressee {
    /// The collection's client-facing name.
    pub collection: String,
    /// The shard's name.
    pub shard: String,
}

impl Addressee {
    /// The target of a request to this shard, in the newest version.
    pub fn target(&self) -> pb::Target {
        pb::Target {
            version: version::HERE.newest,
            collection: self.collection.clone(),
            shard: self.shard.clone(),
            ..pb::Target::default()
        }
    }

    /// Refuses a request of a version that is not spoken here, or to another shard.
    pub fn check(&self, target: Option<&pb::Target>) -> Result<(), Box<Status>> {
        let target = target
            .ok_or_else(|| Box::new(Status::invalid_argument("the request names no target")))?;
        version::check(target.version)?;
        if target.shard != self.shard || target.collection != self.collection {
            return Err(Box::new(Status::failed_precondition(format!(
                "this is shard {} of collection {}, not shard {} of collection {}: the caller's routing is out of date",
                self.shard, self.collection, target.shard, target.collection
            ))));
        }
        Ok(())
    }
}
