//! Which changes of a collection's conditions deserve an event. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use shoal_crds::conditions::{self, reason};

/// A change of a condition that deserves an event: type, whether it is good news, reason, message.
pub fn transitions(before: &[Condition], after: &[Condition]) -> Vec<Transition> {
    let changed = |condition: &&Condition| {
        !before.iter().any(|old| {
            old.type_ == condition.type_
                && old.status == condition.status
                && old.reason == condition.reason
        })
    };
    let told = |condition: &&Condition| match condition.type_.as_str() {
        conditions::RECONCILING => false,
        // That it is so is told once it was not.
        conditions::VISIBLE_IN_TIME => {
            let was = before.iter().find(|old| old.type_ == condition.type_);
            condition.status == "False" || was.is_some_and(|was| was.status == "False")
        }
        _ => true,
    };
    let news = after.iter().filter(told).filter(changed).map(|condition| Transition {
        good: condition.type_ != conditions::STALLED && condition.status == "True",
        expected: [
            reason::SHARDS_STARTING,
            reason::ROUTER_STARTING,
            reason::PAUSED,
            reason::DELETING,
        ]
        .contains(&condition.reason.as_str()),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
    });
    let mut news: Vec<Transition> = news.collect();
    // Ready=False and Stalled=True of one reason are one piece of news.
    news.dedup_by(|a, b| a.reason == b.reason);
    news
}

/// A change of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// It serves now.
    pub good: bool,
    /// A stage every collection passes.
    pub expected: bool,
    /// The condition's reason.
    pub reason: String,
    /// Its message.
    pub message: String,
}
