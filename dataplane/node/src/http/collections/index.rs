//! Payload indexes: which fields of a collection are indexed.
//!
//! With `wait`, a request answers once all indexes are ready, or says `acknowledged` when its time is up: they are made in
//! the background either way, and filters are answered meanwhile.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Map, Value};
use shoal_vector::payload::{IndexKind, PayloadIndex};
use shoal_vector::text::{Tokenizer, TokenizerError};

use super::super::AppState;
use super::super::envelope::{Reply, Started};
use super::super::error::Failure;
use super::super::extract::Json;
use super::super::params::{Time, WriteParams};
use super::super::points::UpdateResult;
use super::to_the_end;
use crate::clock;
use crate::router::api::IndexChange;

/// How often it is looked whether indexes are ready.
const LOOK: Duration = Duration::from_millis(20);

/// Parameters of an index that say how it is kept, which is up to Shoal.
const HINTS: [&str; 7] =
    ["is_tenant", "is_principal", "on_disk", "enable_hnsw", "lookup", "range", "phrase_matching"];

/// Parameters that only a full-text index has.
const OF_TEXT: [&str; 7] = [
    "tokenizer",
    "min_token_len",
    "max_token_len",
    "lowercase",
    "stopwords",
    "stemmer",
    "ascii_folding",
];

/// The body of making an index.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateIndex {
    field_name: String,
    field_schema: Option<Schema>,
}

/// A type, or a type with parameters.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Schema {
    Name(String),
    Parameters(Map<String, Value>),
}

impl CreateIndex {
    fn into_index(self) -> Result<PayloadIndex, Failure> {
        let (name, parameters) = match self.field_schema {
            None => {
                let text = "Can't auto-detect field type, please specify `field_schema`";
                return Err(Failure::wrong_input(text));
            }
            Some(Schema::Name(name)) => (name, Map::new()),
            Some(Schema::Parameters(mut parameters)) => match parameters.remove("type") {
                Some(Value::String(name)) => (name, parameters),
                _ => return Err(Failure::format("field_schema: expected `type` with a name")),
            },
        };
        let Some(kind) = IndexKind::named(&name) else {
            let names = IndexKind::ALL.map(IndexKind::name).join("`, `");
            let text = format!("field_schema: unknown type `{name}`, expected one of `{names}`");
            return Err(Failure::format(text));
        };
        for (key, value) in &parameters {
            match key.as_str() {
                hint if HINTS.contains(&hint) => {
                    if !value.is_boolean() && !value.is_null() {
                        return Err(Failure::format(format!(
                            "field_schema.{hint}: expected a boolean"
                        )));
                    }
                }
                of_text if kind == IndexKind::Text && OF_TEXT.contains(&of_text) => {}
                unknown => {
                    let text = format!("field_schema.{unknown}: not a parameter of type `{name}`");
                    return Err(Failure::format(text));
                }
            }
        }
        let index = match kind {
            IndexKind::Text => {
                let tokenizer = Tokenizer::parse(&parameters).map_err(|error| match error {
                    TokenizerError::Invalid(text) => {
                        Failure::format(format!("field_schema.{text}"))
                    }
                    TokenizerError::Unsupported(feature) => Failure::unsupported(feature),
                })?;
                PayloadIndex::text(&self.field_name, tokenizer)
            }
            kind => PayloadIndex::new(&self.field_name, kind),
        };
        index.map_err(Failure::wrong_input)
    }
}

/// `PUT /collections/{collection_name}/index`
pub(super) async fn make(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Json(body): Json<CreateIndex>,
) -> Result<Reply<UpdateResult>, Failure> {
    let index = body.into_index()?;
    change(started, &state, name, &params, IndexChange::Put(index)).await
}

/// `DELETE /collections/{collection_name}/index/{field_name}`
pub(super) async fn remove(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path((name, field)): Path<(String, String)>,
    Query(params): Query<WriteParams>,
) -> Result<Reply<UpdateResult>, Failure> {
    // Its kind does not matter: this is the field's canonical name.
    let index = PayloadIndex::new(&field, IndexKind::Keyword);
    let field = index.map_err(Failure::wrong_input)?.field;
    change(started, &state, name, &params, IndexChange::Remove(field)).await
}

async fn change(
    started: Started,
    state: &AppState,
    name: String,
    params: &WriteParams,
    change: IndexChange,
) -> Result<Reply<UpdateResult>, Failure> {
    let done = params
        .run(state.router.deadlines(), async |time| {
            let (router, collection) = (state.router.clone(), name.clone());
            to_the_end(async move { router.change_indexes(&collection, change).await }).await?;
            match params.wait() {
                true => ready(state, &name, time).await,
                false => Ok(false),
            }
        })
        .await?;
    Ok(Reply::whole(started, UpdateResult::of_change(done)))
}

/// Waits until all indexes of a collection are ready, or until the time is up; whether they are.
async fn ready(state: &AppState, name: &str, time: Time) -> Result<bool, Failure> {
    let until = clock::now() + time.write();
    loop {
        let collection = state.router.collection(name)?;
        let info = state.router.info(&collection).await?;
        if info.missing.is_empty() && info.indexes_pending == 0 {
            return Ok(true);
        }
        if clock::now() + LOOK >= until {
            return Ok(false);
        }
        tokio::time::sleep(LOOK).await;
    }
}
