//! Two searches a person understands, and what to try next.

use serde_json::{Value, json};

use super::SampleArgs;
use super::client::Client;
use super::data::Sample;
use super::screen::{self, Screen};
use crate::clock;

/// Results shown of each search.
const SHOWN: usize = 4;
/// Longest text shown, in characters.
const WIDTH: usize = 100;
/// Which of the sample's queries are shown: the first plainly, the second among verbs only.
const QUERIES: [usize; 2] = [1, 2];

/// Runs the searches and prints them.
pub(super) async fn searches(
    client: &Client,
    screen: &Screen,
    collection: &str,
    sample: &Sample,
) -> anyhow::Result<()> {
    let verbs = json!({"must": [{"key": "pos", "match": {"value": "verb"}}]});
    for (query, (filter, among)) in
        QUERIES.iter().zip([(None, "all entries"), (Some(verbs), "verbs only")])
    {
        let (vector, text) = sample.query(*query);
        let mut body = json!({"query": vector, "limit": SHOWN, "with_payload": ["text"]});
        if let (Some(filter), Some(object)) = (filter, body.as_object_mut()) {
            object.insert("filter".to_owned(), filter);
        }
        let start = clock::now();
        let answer = client.query(collection, &body).await?;
        let ms = clock::now().saturating_duration_since(start).as_secs_f64() * 1e3;
        screen.say(&format!("\nnearest to \"{}\"", shorten(text)))?;
        let points = screen::count(sample.vectors.rows());
        screen.say(&format!("  {among} of {points}, {ms:.1} ms, HTTP included"))?;
        for point in answer["points"].as_array().unwrap_or(&Vec::new()) {
            screen.say(&line(point))?;
        }
    }
    Ok(())
}

fn line(point: &Value) -> String {
    let text = point["payload"]["text"].as_str().unwrap_or("(no text)");
    format!("  {:.3}  {}", point["score"].as_f64().unwrap_or_default(), shorten(text))
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Prints what a person may do now.
pub(super) fn what_next(screen: &Screen, args: &SampleArgs) -> anyhow::Result<()> {
    let (url, collection) = (args.url.trim_end_matches('/'), &args.collection);
    // The key itself stays off the screen.
    let (header, import, argument) = match args.api_key {
        Some(_) => (
            " -H \"api-key: $SHOAL_API_KEY\"",
            "import os\n  ",
            ", api_key=os.environ[\"SHOAL_API_KEY\"]",
        ),
        None => ("", "", ""),
    };
    screen.say(&format!(
        r#"
try next:
  curl -s{header} {url}/collections/{collection}
  curl -s{header} {url}/collections/{collection}/points/query -H 'content-type: application/json' \
    -d '{{"query": 1, "limit": 3, "with_payload": ["text"]}}'
or from Python (pip install qdrant-client):
  {import}from qdrant_client import QdrantClient
  client = QdrantClient(url="{url}"{argument})
  print(client.query_points("{collection}", query=1, limit=3, with_payload=True))
"#
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_one_line_each_and_cut_between_characters() {
        let point = json!({"id": 1, "score": 0.71249, "payload": {"text": "ü".repeat(WIDTH + 1)}});
        assert_eq!(line(&point), format!("  0.712  {}...", "ü".repeat(WIDTH)));
        assert_eq!(line(&json!({"id": 1, "score": 1})), "  1.000  (no text)");
    }
}
