//! What can go wrong while reconciling, by what is done about it.
//!
//! Invariant: every kind says whether waiting helps; what a person must do ends up in a condition.

use shoal_crds::conditions::reason;

/// A reason and a sentence for a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// One of [`shoal_crds::conditions::reason`].
    pub reason: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

impl Problem {
    /// A problem of this reason.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Why a step of reconciling failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The object changed since we read it: read and try again.
    #[error("{kind} {name} changed meanwhile; trying again")]
    Conflict {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The API server will not have what we built; it says why.
    #[error("the API server refused {kind} {name}: {message}")]
    Refused {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// The API server's words.
        message: String,
    },
    /// An object of a name we need exists and is not ours.
    #[error(
        "{kind} {name} exists and was not made by Shoal: delete or rename it, and Shoal will make its own; it was left \
         alone"
    )]
    Foreign {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// An object of ours, which never changes, was changed, and it is not ours to change it back.
    #[error("{kind} {name} is not as Shoal made it: delete it, and Shoal will make it anew")]
    Changed {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The API server did not answer, or is in trouble: try again later.
    #[error("the API server did not do it ({action}): {message}")]
    Unavailable {
        /// What was tried.
        action: String,
        /// What came back.
        message: String,
    },
    /// Only a person can help; the problem says how.
    #[error("{}", .0.message)]
    Stuck(Problem),
    /// A bug: an object we built cannot be written as JSON.
    #[error("cannot write {0} as JSON: {1}")]
    Encode(&'static str, String),
}

impl Error {
    /// Sorts an answer of the API server.
    pub fn from_kube(error: &kube::Error, verb: &str, kind: &str, name: &str) -> Self {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        match error {
            kube::Error::Api(status) => match status.code {
                409 => Error::Conflict { kind, name },
                // 408 and 429 pass by themselves; 401 does once the token is renewed.
                400 | 402..=407 | 410..=428 => {
                    Error::Refused { kind, name, message: status.message.clone() }
                }
                _ => Error::Unavailable {
                    action: format!("{verb} {kind} {name}"),
                    message: status.message.clone(),
                },
            },
            other => Error::Unavailable {
                action: format!("{verb} {kind} {name}"),
                message: other.to_string(),
            },
        }
    }

    /// What a condition should say about it; `None` where waiting helps.
    pub fn problem(&self) -> Option<Problem> {
        match self {
            Error::Refused { .. } => Some(Problem::new(reason::APPLY_FAILED, self.to_string())),
            Error::Foreign { .. } | Error::Changed { .. } => {
                Some(Problem::new(reason::OBJECT_CONFLICT, self.to_string()))
            }
            Error::Stuck(problem) => Some(problem.clone()),
            Error::Conflict { .. } | Error::Unavailable { .. } | Error::Encode(..) => None,
        }
    }

    /// A word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Error::Conflict { .. } => "conflict",
            Error::Refused { .. } => "refused",
            Error::Foreign { .. } => "foreign",
            Error::Changed { .. } => "changed",
            Error::Unavailable { .. } => "unavailable",
            Error::Stuck(_) => "stuck",
            Error::Encode(..) => "encode",
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn answer(code: u16) -> Error {
        let status = Status { code, message: "said so".into(), ..Status::default() };
        Error::from_kube(&kube::Error::Api(Box::new(status)), "patch", "Service", "x")
    }

    #[test]
    fn what_waiting_cannot_mend_becomes_a_condition() {
        for code in [400, 403, 404, 422] {
            let problem = answer(code).problem().expect("a condition");
            assert_eq!(problem.reason, reason::APPLY_FAILED);
            assert!(problem.message.contains("said so"), "{}", problem.message);
        }
    }

    #[test]
    fn what_waiting_mends_does_not() {
        for code in [401, 408, 409, 429, 500, 503] {
            assert_eq!(answer(code).problem(), None, "{code}");
        }
    }
}
