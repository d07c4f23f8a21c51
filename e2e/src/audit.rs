//! Who wrote what to the Kubernetes API, counted from the API server's audit log.
//!
//! Why the audit log: the API server's metrics count requests by verb and resource, but not by who made them.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One completed request, as far as we care.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    user: User,
    object_ref: Option<ObjectRef>,
    stage_timestamp: String,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRef {
    resource: String,
    subresource: Option<String>,
}

/// Writes by `user` whose moment is in `[from, to)`, counted by "verb resource/subresource". Moments are RFC 3339 in
/// UTC with microseconds, as the log has them, so they compare as text. Lines that are cut short are left out.
pub fn writes(log: &str, user: &str, from: &str, to: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in log.lines().filter_map(|line| serde_json::from_str::<Event>(line).ok()) {
        let moment = event.stage_timestamp.as_str();
        if event.user.username == user && moment >= from && moment < to {
            let what = event.object_ref.map_or_else(String::new, |o| match o.subresource {
                Some(sub) => format!("{}/{sub}", o.resource),
                None => o.resource,
            });
            *counts.entry(format!("{} {what}", event.verb)).or_default() += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(user: &str, resource: &str, at: &str) -> String {
        format!(
            r#"{{"verb":"patch","user":{{"username":"{user}"}},"objectRef":{{"resource":"{resource}","subresource":"status"}},"stageTimestamp":"{at}"}}"#
        )
    }

    #[test]
    fn writes_are_counted_by_user_time_and_resource() {
        let log = [
            line("operator", "shards", "2026-01-01T00:00:01.000000Z"),
            line("operator", "shards", "2026-01-01T00:00:02.000000Z"),
            line("operator", "shards", "2026-01-01T00:01:00.000000Z"),
            line("somebody", "shards", "2026-01-01T00:00:01.000000Z"),
            "{\"verb\":\"pat".to_owned(),
        ]
        .join("\n");
        let counts =
            writes(&log, "operator", "2026-01-01T00:00:00.000000Z", "2026-01-01T00:01:00.000000Z");
        assert_eq!(counts, BTreeMap::from([("patch shards/status".to_owned(), 2)]));
    }
}
