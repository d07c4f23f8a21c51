//! Failures as clients see them: a status and a text, both as Qdrant's where Qdrant has the case.
//!
//! Invariant: what a client sent ends in a 4xx that names the field, or in a 501 that names the feature; a 5xx of any
//! other kind is ours, and is logged here, where it is consumed.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use shoal_vector::{FilterError, PointId};

use crate::router::api::RouteError;

/// Why a request is answered with an error. [`super::envelope::enclose`] writes it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) text: String,
}

impl Failure {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// The body is not JSON, or not of the form this path takes; the text names the place.
    pub(super) fn format(text: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("Format error in JSON body: {text}"))
    }

    /// A field of the body has a value it may not have.
    pub(super) fn field(field: &str, why: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("Validation error in JSON body: [{field}: {why}]"),
        )
    }

    /// Part of the path has a value it may not have.
    pub(super) fn path(field: &str, why: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("Validation error in path parameters: [{field}: {why}]"),
        )
    }

    /// A query parameter has a value it may not have.
    pub(super) fn query(field: &str, why: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            format!("Deserialize error in query parameters: {field}: {why}"),
        )
    }

    /// The request is well formed and does not fit the collection.
    pub(super) fn wrong_input(text: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("Wrong input: {text}"))
    }

    /// The request asks for nothing that could be done.
    pub(super) fn bad_request(text: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("Bad request: {text}"))
    }

    /// A point that does not exist was asked for by its id.
    pub(super) fn no_point(id: PointId) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("Not found: Point with id {id} does not exists!"))
    }

    /// A point that stands for a vector in a query does not exist.
    pub(super) fn no_query_point(id: PointId) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("Not found: No point with id {id} found"))
    }

    /// Nothing answers under this path.
    pub(super) fn no_path(path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            format!("Not found: nothing answers under the path `{path}`"),
        )
    }

    /// The dialect has it, Shoal does not yet.
    pub(super) fn unsupported(feature: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, format!("{feature} is not supported yet"))
    }

    /// The body is longer than this server takes.
    pub(super) fn too_large(limit: usize) -> Self {
        let text = format!(
            "JSON payload is larger than allowed (limit: {limit} bytes); send fewer points at once"
        );
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    }

    /// The body is still not all there.
    pub(super) fn late_body(seconds: u64) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("Timeout: the body did not arrive within {seconds} s"),
        )
    }

    /// Others' bodies take all there is for bodies.
    pub(super) fn no_room(seconds: u64) -> Self {
        let text = format!(
            "Service unavailable: too many large requests are under way, for {seconds} s now; retry, or send fewer points at once"
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    /// No key, or another one.
    pub(super) fn unauthorized(text: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, text)
    }

    /// The time the client gave has passed.
    pub(super) fn timeout(seconds: u64) -> Self {
        let text = format!(
            "Timeout: no answer within the {seconds} s of `timeout`; a write may or may not be done"
        );
        Self::new(StatusCode::REQUEST_TIMEOUT, text)
    }

    /// Answers with a text that something else made, such as the HTTP library for a path it cannot decode.
    pub(super) fn other(status: StatusCode, text: String) -> Self {
        let name = status.canonical_reason().unwrap_or("the request failed");
        Self::new(status, if text.is_empty() { name.to_owned() } else { text })
    }

    /// Names where in the body it is.
    pub(super) fn within(self, place: &str) -> Self {
        Self { text: format!("{} (in {place})", self.text), ..self }
    }

    /// A bug of ours.
    pub(super) fn internal(text: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("Service internal error: {text}"))
    }
}

impl From<RouteError> for Failure {
    fn from(error: RouteError) -> Self {
        let text = error.to_string();
        let status = match error {
            RouteError::NoCollection(_) => StatusCode::NOT_FOUND,
            RouteError::Exists(_) | RouteError::Conflict(_) => StatusCode::CONFLICT,
            RouteError::Invalid(_) => StatusCode::BAD_REQUEST,
            RouteError::Forbidden(_) => {
                return Self::new(StatusCode::FORBIDDEN, format!("Forbidden: {text}"));
            }
            RouteError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            RouteError::Timeout(_) => {
                return Self::new(StatusCode::REQUEST_TIMEOUT, format!("Timeout: {text}"));
            }
            RouteError::DiskFull(_) => StatusCode::INSUFFICIENT_STORAGE,
            RouteError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, text)
    }
}

impl From<FilterError> for Failure {
    fn from(error: FilterError) -> Self {
        match error {
            FilterError::Invalid(text) => Self::format(text),
            FilterError::Field { place, why } => Self::field(&place, why),
            FilterError::Unsupported(_) => {
                Self::new(StatusCode::NOT_IMPLEMENTED, error.to_string())
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_error_has_the_status_clients_of_the_dialect_expect() {
        let text = || "x".to_owned();
        let expected = [
            (RouteError::NoCollection(text()), 404, "Not found: Collection `x` doesn't exist!"),
            (RouteError::Exists(text()), 409, "Wrong input: Collection `x` already exists!"),
            (RouteError::Conflict(text()), 409, "x"),
            (RouteError::Invalid(text()), 400, "Wrong input: x"),
            (RouteError::Forbidden(text()), 403, "Forbidden: x"),
            (RouteError::Unavailable(text()), 503, "x"),
            (RouteError::Timeout(text()), 408, "Timeout: x"),
            (RouteError::DiskFull(text()), 507, "x"),
            (RouteError::Internal(text()), 500, "Service internal error: x"),
        ];
        for (error, status, text) in expected {
            let failure = Failure::from(error);
            assert_eq!((failure.status.as_u16(), failure.text.as_str()), (status, text));
        }
    }

    #[test]
    fn a_filter_feature_that_is_not_there_yet_is_a_501_with_its_name() {
        let failure = Failure::from(FilterError::Unsupported("slice".into()));
        assert_eq!(
            (failure.status.as_u16(), failure.text.as_str()),
            (501, "slice is not supported yet")
        );
    }
}
