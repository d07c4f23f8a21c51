//! Errors of a shard <-> gRPC status.
//!
//! The code is for tools; what the router goes by is the kind in the metadata, because codes such as UNAVAILABLE are
//! also made by the transport. The message is the detail alone: the caller knows which shard it asked.
//!
//! Invariant: a shard's error arrives at the router as the same variant with the same detail.

use std::error::Error;

use shoal_shard::api::ShardError;
use tonic::metadata::MetadataValue;
use tonic::{Code, ConnectError, Status, TimeoutExpired};

use crate::router::call::CallError;

/// Metadata key of the kind of an error.
const KIND: &str = "x-shoal-error";
/// Longest message sent: it travels in a header, and header lists are limited to 16 KiB; each byte may take three.
const MAX_MESSAGE: usize = 4096;

const INVALID: &str = "invalid";
const DISK_FULL: &str = "disk-full";
const UNAVAILABLE: &str = "unavailable";
const CORRUPT: &str = "corrupt";
const CANCELLED: &str = "cancelled";
/// The shard has not looked at the request, so that it is safe to send it again.
const NOT_READY: &str = "not-ready";
/// Another replica is to be asked; the shard has not looked at the request either.
const NOT_PRIMARY: &str = "not-primary";
/// A write may or may not be done.
const UNCERTAIN: &str = "uncertain";
/// Metadata key of where the primary is reached.
const PRIMARY: &str = "x-shoal-primary";

fn with_kind(code: Code, kind: &'static str, message: &str) -> Status {
    let mut end = message.len().min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let mut status = Status::new(code, message.get(..end).unwrap_or_default());
    status.metadata_mut().insert(KIND, MetadataValue::from_static(kind));
    status
}

/// What a shard answers when it fails.
pub fn to_status(error: &ShardError) -> Status {
    match error {
        ShardError::Invalid(text) => with_kind(Code::InvalidArgument, INVALID, text),
        ShardError::DiskFull { detail, .. } => {
            with_kind(Code::ResourceExhausted, DISK_FULL, detail)
        }
        ShardError::Unavailable { detail, .. } => with_kind(Code::Unavailable, UNAVAILABLE, detail),
        ShardError::Cancelled { .. } => with_kind(Code::Cancelled, CANCELLED, ""),
        ShardError::Corrupt { detail, .. } => with_kind(Code::DataLoss, CORRUPT, detail),
        ShardError::NotReady { detail, .. } => not_ready(detail),
        ShardError::NotPrimary { primary, .. } => {
            let mut status = with_kind(Code::Unavailable, NOT_PRIMARY, "");
            if let Some(Ok(primary)) = primary.as_ref().map(|primary| primary.parse()) {
                status.metadata_mut().insert(PRIMARY, primary);
            }
            status
        }
        ShardError::Uncertain { detail, .. } => with_kind(Code::Unavailable, UNCERTAIN, detail),
    }
}

/// What a shard answers while it does not look at requests: before it is open and while it stops.
pub fn not_ready(detail: &str) -> Status {
    with_kind(Code::Unavailable, NOT_READY, detail)
}

/// What a caller makes of a status that a call to `shard` ended with.
pub fn from_status(shard: &str, status: &Status) -> CallError {
    let detail = status.message().to_owned();
    let shard = shard.to_owned();
    let kind = status.metadata().get(KIND).and_then(|kind| kind.to_str().ok());
    match kind {
        Some(INVALID) => ShardError::Invalid(detail).into(),
        Some(DISK_FULL) => ShardError::DiskFull { shard, detail }.into(),
        Some(UNAVAILABLE) => ShardError::Unavailable { shard, detail }.into(),
        Some(CANCELLED) => ShardError::Cancelled { shard }.into(),
        Some(CORRUPT) => ShardError::Corrupt { shard, detail }.into(),
        Some(NOT_READY) => CallError::NotReady { shard, detail },
        Some(NOT_PRIMARY) => {
            let primary = status.metadata().get(PRIMARY).and_then(|at| at.to_str().ok());
            ShardError::NotPrimary { shard, primary: primary.map(str::to_owned) }.into()
        }
        Some(UNCERTAIN) => ShardError::Uncertain { shard, detail }.into(),
        _ => match transport(status) {
            Transport::NotSent => CallError::NotSent { shard, detail: innermost(status) },
            Transport::Late => CallError::Timeout { shard },
            Transport::Broken => CallError::Broken { shard, detail: innermost(status) },
            Transport::None => refused(shard, status),
        },
    }
}

/// A status that the other side's gRPC sent, but not its shard.
fn refused(shard: String, status: &Status) -> CallError {
    let detail = status.message().to_owned();
    match status.code() {
        Code::OutOfRange => ShardError::Invalid(format!(
            "the request or its answer is larger than {} MiB: ask for fewer points at once, or send fewer",
            shoal_proto::MAX_MESSAGE_BYTES >> 20
        ))
        .into(),
        Code::DeadlineExceeded => CallError::Timeout { shard },
        // The shard stopped listening to us, for a deadline of ours that passed there first.
        Code::Cancelled => CallError::Timeout { shard },
        Code::Unavailable => CallError::Broken { shard, detail },
        // Another version, another shard's address, another token: nothing was done, and the cause is ours.
        Code::FailedPrecondition | Code::Unauthenticated => ShardError::Unavailable { shard, detail }.into(),
        code => CallError::Internal { shard, detail: format!("{code:?}: {detail}") },
    }
}

/// What the transport had to do with a status.
enum Transport {
    /// Nothing: the other side answered.
    None,
    /// There was no connection, or it was closing and did not take the request any more.
    NotSent,
    /// The caller's own deadline passed.
    Late,
    /// The connection failed with the request on its way.
    Broken,
}

/// Only what the transport made has a cause; what came over the network is text.
fn transport(status: &Status) -> Transport {
    let Some(mut cause) = status.source() else { return Transport::None };
    loop {
        // A canceled request was still in the client's queue when its connection closed.
        let unsent = cause.is::<ConnectError>()
            || cause.downcast_ref().is_some_and(hyper::Error::is_canceled)
            || cause.downcast_ref().is_some_and(not_processed);
        if unsent {
            return Transport::NotSent;
        }
        if cause.is::<TimeoutExpired>() {
            return Transport::Late;
        }
        match cause.source() {
            Some(next) => cause = next,
            None => return Transport::Broken,
        }
    }
}

/// Whether the other side said that it has not looked at a request: HTTP/2 promises that of a stream that is refused,
/// and of one above the last that a closing connection names. Streams below that one end with an error of another kind.
fn not_processed(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

/// The last cause of a transport's error: "Connection refused" says more than "transport error".
fn innermost(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roundtrip(error: ShardError) -> CallError {
        from_status("s-0", &to_status(&error))
    }

    #[test]
    fn a_shards_errors_arrive_as_they_were_sent() {
        let (shard, detail) = ("s-0".to_owned(), "expected dim: 4, got 3 — \"ä\"".to_owned());
        let errors = [
            ShardError::Invalid(detail.clone()),
            ShardError::DiskFull { shard: shard.clone(), detail: detail.clone() },
            ShardError::Unavailable { shard: shard.clone(), detail: detail.clone() },
            ShardError::Cancelled { shard: shard.clone() },
            ShardError::NotPrimary { shard: shard.clone(), primary: Some("10.0.0.1:6335".into()) },
            ShardError::NotPrimary { shard: shard.clone(), primary: None },
            ShardError::Uncertain { shard: shard.clone(), detail: detail.clone() },
            ShardError::Corrupt { shard, detail },
        ];
        for error in errors {
            let CallError::Shard(back) = roundtrip(error.clone()) else { panic!("{error}") };
            assert_eq!(format!("{back:?}"), format!("{error:?}"));
        }
    }

    #[test]
    fn a_shard_that_is_not_ready_has_not_taken_the_request() {
        assert!(matches!(from_status("s-0", &not_ready("opening")), CallError::NotReady { .. }));
    }

    #[test]
    fn a_status_of_the_transport_may_have_been_sent_and_is_not_mistaken_for_the_shards() {
        assert!(matches!(
            from_status("s-0", &Status::unavailable("reset")),
            CallError::Broken { .. }
        ));
        assert!(matches!(
            from_status("s-0", &Status::cancelled("Timeout expired")),
            CallError::Timeout { .. }
        ));
        assert!(matches!(
            from_status("s-0", &Status::resource_exhausted("?")),
            CallError::Internal { .. }
        ));
    }

    #[test]
    fn only_what_certainly_did_not_arrive_is_said_to_be_not_sent() {
        let refused = ConnectError("Connection refused".into());
        let not_sent = from_status("s-0", &Status::from_error(Box::new(refused)));
        assert!(
            matches!(&not_sent, CallError::NotSent { detail, .. } if detail.contains("refused")),
            "{not_sent}"
        );
        // A local reset says nothing about what the other side saw.
        let reset = Status::from_error(Box::new(h2::Error::from(h2::Reason::REFUSED_STREAM)));
        assert!(matches!(from_status("s-0", &reset), CallError::Broken { .. }));
        let late = Status::from_error(Box::new(TimeoutExpired(())));
        assert!(matches!(from_status("s-0", &late), CallError::Timeout { .. }));
    }

    #[test]
    fn long_messages_are_cut_between_characters_so_that_they_fit_a_header() {
        let status = to_status(&ShardError::Invalid("ä".repeat(9000)));
        assert!(status.message().len() <= MAX_MESSAGE && status.message().ends_with('ä'));
    }
}
