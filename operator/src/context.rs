//! What both controllers work with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::backoff::Backoff;
use crate::error::Problem;
use crate::events::Events;
use crate::kubernetes::stores::Stores;
use crate::kubernetes::triggers::Triggers;
use crate::kubernetes::writer::Writer;
use crate::samples::Samples;
use crate::settings::Settings;
use crate::telemetry::Telemetry;
use crate::told::Heard;

/// What both controllers work with.
pub struct Context {
    /// What the operator was started with.
    pub settings: Settings,
    /// What exists.
    pub stores: Stores,
    /// Writes to the API server.
    pub writer: Writer,
    /// Events.
    pub events: Events,
    /// Metrics.
    pub telemetry: Telemetry,
    /// Queues of the controllers.
    pub triggers: Arc<Triggers>,
    /// What shards last said about themselves.
    pub samples: Arc<Samples>,
    /// What replicas last said about themselves and each other.
    pub heard: Heard,
    /// Failures, to space retries.
    pub backoff: Backoff,
    /// What is wrong with namespaces' routers, for the conditions of their collections.
    pub namespaces: NamespaceNotes,
}

/// What is remembered about namespaces between reconciles. Losing it costs a grace period, nothing else.
#[derive(Debug, Default)]
pub struct NamespaceNotes {
    notes: Mutex<HashMap<String, Note>>,
}

#[derive(Debug, Default)]
struct Note {
    problem: Option<Problem>,
    unwanted_since: Option<Instant>,
}

impl NamespaceNotes {
    /// What is wrong with a namespace's router.
    pub fn problem(&self, namespace: &str) -> Option<Problem> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).get(namespace)?.problem.clone()
    }

    /// Notes what is wrong, or that nothing is; whether that is news.
    pub fn set_problem(&self, namespace: &str, problem: Option<Problem>) -> bool {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let note = notes.entry(namespace.to_owned()).or_default();
        let changed = note.problem != problem;
        note.problem = problem;
        changed
    }

    /// Notes that a namespace needs a router.
    pub fn set_wanted(&self, namespace: &str) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.entry(namespace.to_owned()).or_default().unwanted_since = None;
    }

    /// Notes that a namespace needs no router; since when.
    pub fn unwanted_since(&self, namespace: &str, now: Instant) -> Instant {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        *notes.entry(namespace.to_owned()).or_default().unwanted_since.get_or_insert(now)
    }

    /// Forgets a namespace.
    pub fn forget(&self, namespace: &str) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shoal_crds::conditions::reason;

    use super::*;

    #[test]
    fn the_grace_period_starts_once_and_again_after_the_namespace_was_wanted() {
        let notes = NamespaceNotes::default();
        let start = Instant::now();
        let later = start + Duration::from_secs(5);
        assert_eq!(notes.unwanted_since("ns", start), start);
        assert_eq!(notes.unwanted_since("ns", later), start);
        notes.set_wanted("ns");
        assert_eq!(notes.unwanted_since("ns", later), later);
    }

    #[test]
    fn only_a_changed_problem_is_news() {
        let notes = NamespaceNotes::default();
        let problem = Some(Problem::new(reason::OBJECT_CONFLICT, "taken"));
        assert!(!notes.set_problem("ns", None));
        assert!(notes.set_problem("ns", problem.clone()));
        assert!(!notes.set_problem("ns", problem.clone()));
        assert_eq!(notes.problem("ns"), problem);
    }
}
