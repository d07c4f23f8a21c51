//! Looking at what is applied, and mending it; see `mend.rs`.

use super::Journal;
use crate::api::ShardError;
use crate::env;
use crate::mend::{Fixes, Mended};
use crate::moment::Moment;

impl Journal {
    /// What is applied, to be looked at for a while.
    pub fn moment(&self) -> Moment {
        Moment::of(&self.shared)
    }

    /// Makes the points of some buckets those of another replica, and shows them to readers. Fails if other ops were applied
    /// than when they were compared, or flushes have to come first; nothing is changed then.
    pub fn mend(&mut self, fixes: Fixes) -> Result<Mended, ShardError> {
        let shared = self.shared.clone();
        let (at, applied) = (fixes.seq(), self.applied());
        if at != applied {
            let detail = format!("points of seq {at} cannot be mended at seq {applied}");
            return Err(shared.unavailable(&detail));
        }
        if !self.has_room()? {
            return Err(shared.unavailable("flushes have to come first"));
        }
        let mut state = env::lock(&shared.state);
        let mended = state.view.mend(fixes);
        shared.publish(&state);
        shared.changed.notify_all();
        drop(state);
        self.rotate();
        Ok(mended)
    }
}
