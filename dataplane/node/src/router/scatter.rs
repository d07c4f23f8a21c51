//! Asks several shards at once and keeps apart who answered and who did not.
//!
//! Invariant: what comes of the answers does not depend on the order in which they arrived.

use std::future::Future;

use futures::future::join_all;

use super::api::{Answer, Lacks, Partial, Read, ReadOptions, RouteError};
use super::call::CallError;

/// What came back from the shards that were asked.
#[derive(Debug)]
pub(super) struct Gathered<T> {
    /// Answers, in the order the shards were asked.
    pub(super) answers: Vec<T>,
    /// Shards that did not answer, by name, and why.
    pub(super) failures: Vec<(String, CallError)>,
}

/// Makes all calls at once and waits until each has ended. Each call bounds its own time.
pub(super) async fn gather<T, F>(calls: impl IntoIterator<Item = (String, F)>) -> Gathered<T>
where
    F: Future<Output = Result<T, CallError>>,
{
    let named = calls.into_iter().map(|(shard, call)| async move { (shard, call.await) });
    let mut gathered = Gathered { answers: Vec::new(), failures: Vec::new() };
    for (shard, outcome) in join_all(named).await {
        match outcome {
            Ok(answer) => gathered.answers.push(answer),
            Err(error) => gathered.failures.push((shard, error)),
        }
    }
    gathered
}

impl<T> Gathered<T> {
    /// The answers, if every shard gave one; else what stands in the way, the worst named first.
    pub(super) fn all(self) -> Result<Vec<T>, RouteError> {
        match worst(&self.failures) {
            None => Ok(self.answers),
            Some(error) => Err(error),
        }
    }
}

impl<T> Gathered<Read<T>> {
    /// The answers of all shards; else what stands in the way.
    pub(super) fn whole(self, options: &ReadOptions) -> Result<Answer<Vec<T>>, RouteError> {
        Ok(together(self.all()?, Vec::new(), options))
    }

    /// The answers there are, if there is one at all and no more are asked for. A request that a shard calls wrong is wrong,
    /// whatever the others say: they may have had nothing to compare it with.
    pub(super) fn some(self, options: &ReadOptions) -> Result<Answer<Vec<T>>, RouteError> {
        let refused = options.partial == Some(Partial::Refuse);
        let invalid = self.failures.iter().any(|(_, error)| error.is_invalid());
        if (refused || invalid || self.answers.is_empty())
            && let Some(error) = worst(&self.failures)
        {
            return Err(error);
        }
        for (shard, error) in &self.failures {
            tracing::warn!(%shard, %error, "answering without a shard");
        }
        let missing = self.failures.into_iter().map(|(shard, _)| shard).collect();
        Ok(together(self.answers, missing, options))
    }
}

fn together<T>(reads: Vec<Read<T>>, missing: Vec<String>, options: &ReadOptions) -> Answer<Vec<T>> {
    let staleness = reads.iter().map(|read| read.staleness).max().unwrap_or_default();
    let value = reads.into_iter().map(|read| read.value).collect();
    Answer { value, lacks: Lacks::of(missing, staleness, options) }
}

fn worst(failures: &[(String, CallError)]) -> Option<RouteError> {
    // Of equals the first, so that the text does not depend on anything but who failed.
    let (_, error) = failures.iter().rev().max_by_key(|(_, error)| error.severity())?;
    if error.is_invalid() || failures.len() == 1 {
        return Some(error.clone().into());
    }
    let mut names: Vec<&str> = failures.iter().map(|(shard, _)| shard.as_str()).collect();
    names.sort_unstable();
    let failed = format!(" ({} shards failed: {})", failures.len(), names.join(", "));
    Some(match error.clone().into() {
        RouteError::Unavailable(text) => RouteError::Unavailable(text + &failed),
        RouteError::Timeout(text) => RouteError::Timeout(text + &failed),
        RouteError::DiskFull(text) => RouteError::DiskFull(text + &failed),
        RouteError::Internal(text) => RouteError::Internal(text + &failed),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use shoal_shard::api::ShardError;

    use super::*;
    use crate::router::api::Consistency;

    fn down(shard: &str) -> CallError {
        CallError::NotSent { shard: shard.to_owned(), detail: "Connection refused".to_owned() }
    }

    const ANY: ReadOptions = ReadOptions {
        deadline: Duration::from_secs(1),
        consistency: Consistency::Any,
        partial: None,
        max_staleness: Some(Duration::from_millis(100)),
    };

    async fn ask(outcomes: Vec<Result<u32, CallError>>) -> Gathered<Read<u32>> {
        let calls = outcomes.into_iter().enumerate();
        let read = |outcome: Result<u32, _>| std::future::ready(outcome.map(Read::fresh));
        gather(calls.map(|(n, outcome)| (format!("s-{n}"), read(outcome)))).await
    }

    #[tokio::test]
    async fn one_answer_is_enough_for_some_and_names_the_missing() {
        let gathered = ask(vec![Err(down("s-0")), Ok(7), Err(down("s-2"))]).await;
        let answer = gathered.some(&ANY).unwrap();
        assert_eq!(answer.value, [7]);
        assert_eq!(answer.lacks.missing, ["s-0", "s-2"]);
        assert!(!answer.lacks.too_stale);
    }

    #[tokio::test]
    async fn where_parts_are_refused_one_shard_that_is_missing_is_an_error() {
        let refuse = ReadOptions { partial: Some(Partial::Refuse), ..ANY };
        let gathered = ask(vec![Ok(7), Err(down("s-1"))]).await;
        let error = gathered.some(&refuse).unwrap_err();
        assert!(matches!(&error, RouteError::Unavailable(text) if text.contains("s-1")), "{error}");
        assert_eq!(ask(vec![Ok(7), Ok(8)]).await.some(&refuse).unwrap().value, [7, 8]);
    }

    #[tokio::test]
    async fn an_answer_is_as_stale_as_the_stalest_in_it() {
        let stale = |ms| Read { value: ms, staleness: Duration::from_millis(ms) };
        let of = |all: Vec<u64>| Gathered {
            answers: all.into_iter().map(stale).collect(),
            failures: Vec::new(),
        };
        let lacks = of(vec![5, 100, 0]).whole(&ANY).unwrap().lacks;
        assert_eq!((lacks.staleness.as_millis(), lacks.too_stale), (100, false));
        let lacks = of(vec![5, 101, 0]).some(&ANY).unwrap().lacks;
        assert_eq!((lacks.staleness.as_millis(), lacks.too_stale), (101, true));
    }

    #[tokio::test]
    async fn all_needs_everyone_and_names_who_failed() {
        assert_eq!(ask(vec![Ok(1), Ok(2)]).await.whole(&ANY).unwrap().value, [1, 2]);
        let error = ask(vec![Ok(1), Err(down("s-1"))]).await.whole(&ANY).unwrap_err();
        assert!(matches!(&error, RouteError::Unavailable(text) if text.contains("s-1")), "{error}");
        let error = ask(vec![Err(down("s-0")), Err(down("s-1"))]).await.some(&ANY).unwrap_err();
        assert!(
            matches!(&error, RouteError::Unavailable(text) if text.contains("s-0, s-1")),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_wrong_request_is_never_answered_in_part() {
        let wrong = || Err(ShardError::Invalid("Vector dimension error".to_owned()).into());
        let error = ask(vec![Ok(1), wrong(), Err(down("s-2"))]).await.some(&ANY).unwrap_err();
        assert!(
            matches!(&error, RouteError::Invalid(text) if text == "Vector dimension error"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn asking_nobody_is_an_empty_answer() {
        assert!(ask(vec![]).await.some(&ANY).unwrap().value.is_empty());
        assert!(ask(vec![]).await.whole(&ANY).unwrap().value.is_empty());
    }

    #[tokio::test]
    async fn calls_run_at_the_same_time() {
        let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(5));
        let call = |n: usize| {
            let barrier = barrier.clone();
            (n.to_string(), async move {
                barrier.wait().await;
                Ok(n)
            })
        };
        assert_eq!(gather((0..5).map(call)).await.all().unwrap(), [0, 1, 2, 3, 4]);
    }

    proptest! {
        #[test]
        fn the_error_told_does_not_depend_on_who_answers_first(kinds in proptest::collection::vec(0u8..5, 1..6)) {
            let error = |(n, kind): (usize, &u8)| {
                let (shard, detail) = (format!("s-{n}"), "why".to_owned());
                (shard.clone(), match kind {
                    0 => CallError::NotSent { shard, detail },
                    1 => CallError::Timeout { shard },
                    2 => ShardError::DiskFull { shard, detail }.into(),
                    3 => ShardError::Corrupt { shard, detail }.into(),
                    _ => CallError::Broken { shard, detail },
                })
            };
            let failures: Vec<_> = kinds.iter().enumerate().map(error).collect();
            let told = worst(&failures).unwrap().to_string();
            for (shard, _) in &failures {
                prop_assert!(told.contains(shard.as_str()), "{told} names {shard}");
            }
            let severest = failures.iter().map(|(_, e)| e.severity()).max();
            let first = failures.iter().find(|(_, e)| Some(e.severity()) == severest).unwrap();
            prop_assert!(told.contains(&first.0));
        }
    }
}
