//! The nodes that replicas are on: ready, or lost and since when. Pure.
//!
//! Invariant: a node that is ready is not lost, whatever was noted before.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeIs {
    /// It is ready.
    Ready,
    /// It is not, since then.
    NotReady(Timestamp),
    /// There is no such node.
    Gone,
}

/// Nodes by name.
pub type Nodes = BTreeMap<String, NodeIs>;

/// How a node is. One that never said anything is taken as not ready since it was made.
pub fn state(node: Option<&Node>) -> NodeIs {
    let Some(node) = node else { return NodeIs::Gone };
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref());
    let ready = conditions.unwrap_or_default().iter().find(|condition| condition.type_ == "Ready");
    if ready.is_some_and(|ready| ready.status == "True") {
        return NodeIs::Ready;
    }
    let changed = ready.and_then(|ready| ready.last_transition_time.clone());
    let since = changed.or_else(|| node.metadata.creation_timestamp.clone());
    since.map_or(NodeIs::Gone, |since| NodeIs::NotReady(since.0))
}

/// Since when a node is lost; `noted` is since when it was lost as of the last look.
pub(super) fn lost_since(
    node: NodeIs,
    noted: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    match node {
        NodeIs::Ready => None,
        NodeIs::NotReady(since) => Some(noted.map_or(since, |noted| noted.min(since))),
        // An object that is gone tells no time.
        NodeIs::Gone => Some(noted.unwrap_or(now)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use k8s_openapi::api::core::v1::{NodeCondition, NodeStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn node(status: &str, second: i64) -> Node {
        let ready = NodeCondition {
            type_: "Ready".into(),
            status: status.into(),
            last_transition_time: Some(Time(at(second))),
            ..NodeCondition::default()
        };
        let status = NodeStatus { conditions: Some(vec![ready]), ..NodeStatus::default() };
        Node { status: Some(status), ..Node::default() }
    }

    #[test]
    fn a_node_is_lost_since_it_was_last_ready_or_first_found_gone() {
        assert_eq!(state(Some(&node("True", 5))), NodeIs::Ready);
        assert_eq!(state(Some(&node("Unknown", 5))), NodeIs::NotReady(at(5)));
        assert_eq!(state(Some(&node("False", 5))), NodeIs::NotReady(at(5)));
        assert_eq!(state(None), NodeIs::Gone);
        let now = at(100);
        assert_eq!(lost_since(NodeIs::Ready, Some(at(1)), now), None);
        assert_eq!(lost_since(NodeIs::NotReady(at(5)), None, now), Some(at(5)));
        assert_eq!(lost_since(NodeIs::Gone, None, now), Some(now));
        // Deleted after it was lost for a while, or made anew and not ready yet: it is lost since it was first.
        assert_eq!(lost_since(NodeIs::Gone, Some(at(5)), now), Some(at(5)));
        assert_eq!(lost_since(NodeIs::NotReady(at(90)), Some(at(5)), now), Some(at(5)));
    }
}
