//! `POST /collections/{collection_name}/points/scroll`: all points that match, page by page, in the order of ids.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shoal_shard::api::ScrollRequest;
use shoal_vector::PointId;

use super::super::AppState;
use super::super::envelope::{Reply, Started};
use super::super::error::Failure;
use super::super::extract::Json;
use super::super::models::output::RecordOut;
use super::super::models::vector::Known;
use super::super::models::want::{WithPayload, WithVector, want};
use super::super::models::{NotYet, filter, limits, refuse};
use super::super::params::ReadParams;
use crate::http::models::distinct;
use crate::router::api::Page;

/// Points on a page unless asked otherwise.
const DEFAULT_LIMIT: usize = 10;

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Scroll {
    offset: Option<PointId>,
    limit: Option<usize>,
    #[serde(default, deserialize_with = "distinct::optional")]
    filter: Option<Value>,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    order_by: NotYet,
    shard_key: NotYet,
}

/// A page, and where the next one begins.
#[derive(Debug, Serialize)]
pub(in super::super) struct ScrollResult {
    points: Vec<RecordOut>,
    next_page_offset: Option<PointId>,
}

impl Scroll {
    fn into_request(self, known: Known<'_>) -> Result<ScrollRequest, Failure> {
        refuse(&[("order_by", &self.order_by), ("shard_key", &self.shard_key)])?;
        Ok(ScrollRequest {
            filter: filter(self.filter.as_ref())?,
            from: self.offset,
            limit: limits::limit(self.limit, DEFAULT_LIMIT)?,
            want: want(self.with_payload, true, self.with_vector, known)?,
        })
    }
}

/// `POST /collections/{collection_name}/points/scroll`
pub(in super::super) async fn scroll(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    params: ReadParams,
    Json(body): Json<Scroll>,
) -> Result<Reply<ScrollResult>, Failure> {
    let collection = state.router.collection(&name)?;
    let request = body.into_request(Known::from(&*collection))?;
    let answer = params
        .run(state.router.deadlines(), async |time| {
            Ok(state.router.scroll(&collection, request, time.read()).await?)
        })
        .await?;
    let bytes = answer.value.records.iter().map(|record| record.parts.bytes()).sum();
    let result = |page: Page| ScrollResult {
        points: page.records.into_iter().map(RecordOut::from).collect(),
        next_page_offset: page.next,
    };
    Ok(Reply::of(started, answer.map(result)).of_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use shoal_shard::api::{WantPayload, WantVectors};

    use super::*;

    fn read(json: &str) -> Result<ScrollRequest, Failure> {
        serde_json::from_str::<Scroll>(json)
            .map_err(Failure::format)?
            .into_request(Known { dense: &[], sparse: &[] })
    }

    #[test]
    fn an_empty_body_asks_for_the_first_ten_with_payloads() {
        let request = read("{}").unwrap();
        assert_eq!((request.limit, request.from), (10, None));
        assert_eq!(request.want.payload, WantPayload::All);
        assert_eq!(request.want.vectors, WantVectors::No);
    }

    #[test]
    fn pages_begin_at_an_id() {
        let request =
            read(r#"{"offset": 7, "limit": 3, "with_payload": false, "with_vectors": true}"#)
                .unwrap();
        assert_eq!((request.limit, request.from), (3, Some(PointId::Num(7))));
        assert_eq!(request.want.vectors, WantVectors::All);
    }

    #[test]
    fn an_order_other_than_ids_is_not_made_up() {
        for (json, status) in
            [(r#"{"order_by": "price"}"#, 501), (r#"{"limit": 0}"#, 422), (r#"{"limit": -1}"#, 400)]
        {
            assert_eq!(read(json).unwrap_err().status.as_u16(), status, "{json}");
        }
    }
}
