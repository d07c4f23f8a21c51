//! Events on objects: what a person sees at the end of `kubectl describe`.
//!
//! Invariant: an event tells a change, so a steady state publishes none; one that cannot be published is logged and
//! fails nothing.

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use shoal_crds::labels;

use crate::collection::news::News;
use crate::telemetry::Telemetry;

/// Longest text of an event the API server takes.
const MAX_NOTE: usize = 1024;

/// Publishes events.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
    telemetry: Telemetry,
}

impl Events {
    /// Events that name this operator, and this instance of it, as their source.
    pub fn new(client: Client, telemetry: Telemetry, instance: String) -> Self {
        let reporter =
            Reporter { controller: labels::MANAGER.to_owned(), instance: Some(instance) };
        Self { recorder: Recorder::new(client, reporter), telemetry }
    }

    /// Good news, or what was done.
    pub async fn normal<K: Resource<DynamicType = ()>>(
        &self,
        about: &K,
        reason: &str,
        action: &str,
        note: &str,
    ) {
        self.publish(EventType::Normal, about, reason, action, note).await;
    }

    /// Something a person should look at.
    pub async fn warning<K: Resource<DynamicType = ()>>(
        &self,
        about: &K,
        reason: &str,
        action: &str,
        note: &str,
    ) {
        self.publish(EventType::Warning, about, reason, action, note).await;
    }

    /// What changed.
    pub(crate) async fn tell<K: Resource<DynamicType = ()>>(
        &self,
        about: &K,
        news: &News,
        note: &str,
    ) {
        let type_ = if news.warning { EventType::Warning } else { EventType::Normal };
        self.publish(type_, about, news.reason, "Watch", note).await;
    }

    async fn publish<K: Resource<DynamicType = ()>>(
        &self,
        type_: EventType,
        about: &K,
        reason: &str,
        action: &str,
        note: &str,
    ) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            action: action.to_owned(),
            note: Some(shorten(note)),
            secondary: None,
        };
        let published = self.recorder.publish(&event, &about.object_ref(&())).await;
        self.telemetry.wrote("create", "Event", if published.is_ok() { "ok" } else { "error" });
        if let Err(error) = published {
            tracing::warn!(%error, reason, "cannot publish an event");
        }
    }
}

fn shorten(note: &str) -> String {
    let end = (0..=note.len().min(MAX_NOTE))
        .rev()
        .find(|&end| note.is_char_boundary(end))
        .unwrap_or_default();
    note.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_notes_are_cut_between_characters() {
        assert_eq!(shorten("short"), "short");
        let long = "ü".repeat(1000);
        assert_eq!(shorten(&long), "ü".repeat(512));
    }
}
