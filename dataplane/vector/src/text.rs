//! Texts as tokens: what a full-text index keeps of a text, and what a query looks for in it.
//!
//! Tokens are made as Qdrant makes them. Pure, so that an index, a scan beside it, and a rebuilt index agree. Invariant: what
//! [`TextQuery::matches`] says of a text follows from the text's tokens alone, in their order.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Prefixes are kept up to this many characters, of texts and of queries alike. A word of n characters has n prefixes, n²/2
/// characters in all; words of people's languages are shorter than this, and what is longer is found by this much of it.
pub const MAX_PREFIX_CHARS: usize = 64;

/// What ends a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Split {
    /// Whatever is neither letter nor digit.
    #[default]
    Word,
    /// Blanks.
    Whitespace,
    /// As words; a text's tokens are all prefixes of each, a query's the words themselves.
    Prefix,
}

/// How a text becomes tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokenizer {
    /// What ends a token.
    pub split: Split,
    /// Whether tokens are made lowercase.
    pub lowercase: bool,
    /// Shorter tokens, in characters, are left out.
    pub min_len: Option<usize>,
    /// Longer tokens, in characters, are left out; of words that are kept as prefixes, longer prefixes.
    pub max_len: Option<usize>,
}

impl Default for Tokenizer {
    fn default() -> Self {
        Tokenizer { split: Split::Word, lowercase: true, min_len: None, max_len: None }
    }
}

/// Why parameters of a full-text index are not a tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// A parameter has a value it may not have.
    #[error("{0}")]
    Invalid(String),
    /// The dialect has it, Shoal does not yet; the text is the feature's name.
    #[error("{0} is not supported yet")]
    Unsupported(String),
}

/// Parameters that change tokens and are not there yet.
const UNSUPPORTED: [&str; 3] = ["stopwords", "stemmer", "ascii_folding"];

impl Tokenizer {
    /// Reads what the parameters of a full-text index say about tokens. Other parameters are left to the caller.
    pub fn parse(parameters: &Map<String, Value>) -> Result<Tokenizer, TokenizerError> {
        let given = |name: &str| parameters.get(name).filter(|value| !value.is_null());
        let invalid = |name: &str, expected: &str| {
            TokenizerError::Invalid(format!("{name}: expected {expected}"))
        };
        let off = |value: &&Value| **value != Value::Bool(false);
        if let Some(name) = UNSUPPORTED.iter().find(|name| given(name).filter(off).is_some()) {
            return Err(TokenizerError::Unsupported(format!("text index parameter `{name}`")));
        }
        let split = match given("tokenizer").map(|value| value.as_str()) {
            None | Some(Some("word")) => Split::Word,
            Some(Some("whitespace")) => Split::Whitespace,
            Some(Some("prefix")) => Split::Prefix,
            Some(Some("multilingual")) => {
                return Err(TokenizerError::Unsupported("tokenizer `multilingual`".into()));
            }
            Some(_) => return Err(invalid("tokenizer", "`word`, `whitespace` or `prefix`")),
        };
        let lowercase = match given("lowercase") {
            None => true,
            Some(value) => value.as_bool().ok_or_else(|| invalid("lowercase", "a boolean"))?,
        };
        let length = |name: &str| match given(name).map(|value| value.as_u64()) {
            None => Ok(None),
            // A length that does not fit is one that no token has.
            Some(Some(length)) => Ok(Some(usize::try_from(length).unwrap_or(usize::MAX))),
            Some(None) => Err(invalid(name, "an unsigned integer")),
        };
        let (min_len, max_len) = (length("min_token_len")?, length("max_token_len")?);
        Ok(Tokenizer { split, lowercase, min_len, max_len })
    }

    /// Calls `visit` with each token of a text that is stored, in order, for as long as it returns true.
    pub fn each_token(&self, text: &str, visit: &mut dyn FnMut(&str) -> bool) {
        self.each_word(text, &mut |word| match self.split {
            Split::Word | Split::Whitespace => visit(word),
            Split::Prefix => self.prefixes(word).all(&mut *visit),
        });
    }

    /// The tokens of a text to look for, in order.
    pub fn query_tokens(&self, text: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        self.each_word(text, &mut |word| {
            match self.split {
                Split::Word | Split::Whitespace => tokens.push(word.to_owned()),
                Split::Prefix => tokens.extend(self.prefixes(word).last().map(str::to_owned)),
            }
            true
        });
        tokens
    }

    /// Calls `visit` with each word that is neither too short nor, unless prefixes of it are kept, too long.
    fn each_word(&self, text: &str, visit: &mut dyn FnMut(&str) -> bool) {
        let is_end = |c: char| match self.split {
            Split::Whitespace => c.is_whitespace(),
            Split::Word | Split::Prefix => !c.is_alphanumeric(),
        };
        for word in text.split(is_end).filter(|word| !word.is_empty()) {
            let lower;
            let lowers = self.lowercase
                && (!word.is_ascii() || word.bytes().any(|byte| byte.is_ascii_uppercase()));
            let word = match lowers {
                true => {
                    lower = word.to_lowercase();
                    lower.as_str()
                }
                false => word,
            };
            let long_enough =
                self.min_len.is_none_or(|min| word.chars().nth(min.saturating_sub(1)).is_some());
            let too_long = self.max_len.is_some_and(|max| word.chars().nth(max).is_some());
            if long_enough && !(too_long && self.split != Split::Prefix) && !visit(word) {
                return;
            }
        }
    }

    /// Prefixes of a word from the shortest to the longest that are kept.
    fn prefixes<'w>(&self, word: &'w str) -> impl Iterator<Item = &'w str> + use<'w> {
        let shortest = self.min_len.unwrap_or(1).max(1);
        let longest = self.max_len.unwrap_or(MAX_PREFIX_CHARS).min(MAX_PREFIX_CHARS);
        let ends = word.char_indices().map(|(at, c)| at + c.len_utf8());
        ends.take(longest).skip(shortest - 1).filter_map(|end| word.get(..end))
    }
}

/// What a query asks of the tokens of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of the query's tokens, in any order.
    All,
    /// At least one of them.
    Any,
    /// All of them, one behind the other.
    Phrase,
}

/// A query made ready to be asked about many texts. One without a token matches nothing.
#[derive(Debug)]
pub struct TextQuery {
    tokenizer: Tokenizer,
    tokens: Tokens,
}

#[derive(Debug)]
enum Tokens {
    All(HashSet<String>),
    Any(HashSet<String>),
    Phrase { tokens: Vec<String>, fallback: Vec<usize> },
}

impl TextQuery {
    /// Makes a query ready.
    pub fn new(tokenizer: Tokenizer, wanted: Wanted, text: &str) -> TextQuery {
        let tokens = match wanted {
            Wanted::All => Tokens::All(tokenizer.query_tokens(text).into_iter().collect()),
            Wanted::Any => Tokens::Any(tokenizer.query_tokens(text).into_iter().collect()),
            Wanted::Phrase => {
                let mut tokens = Vec::new();
                tokenizer.each_token(text, &mut |token| {
                    tokens.push(token.to_owned());
                    true
                });
                Tokens::Phrase { fallback: fallback(&tokens), tokens }
            }
        };
        TextQuery { tokenizer, tokens }
    }

    /// Whether a stored text matches.
    pub fn matches(&self, text: &str) -> bool {
        let mut found = false;
        match &self.tokens {
            Tokens::All(wanted) => {
                let mut seen = HashSet::new();
                self.tokenizer.each_token(text, &mut |token| {
                    seen.extend(wanted.get(token));
                    found = !wanted.is_empty() && seen.len() == wanted.len();
                    !found
                });
            }
            Tokens::Any(wanted) => self.tokenizer.each_token(text, &mut |token| {
                found = wanted.contains(token);
                !found
            }),
            Tokens::Phrase { tokens, fallback } => {
                let mut matched = 0;
                self.tokenizer.each_token(text, &mut |token| {
                    matched = advance(tokens, fallback, matched, token);
                    found = !tokens.is_empty() && matched == tokens.len();
                    !found
                });
            }
        }
        found
    }
}

/// Knuth, Morris and Pratt's table: for each place, how many tokens at the beginning are also those before it and it.
fn fallback(tokens: &[String]) -> Vec<usize> {
    let mut table = vec![0; tokens.len()];
    for at in 1..tokens.len() {
        table[at] = advance(tokens, &table, table[at - 1], &tokens[at]);
    }
    table
}

/// How many tokens of a phrase are matched after one more token of a text.
fn advance(tokens: &[String], fallback: &[usize], mut matched: usize, token: &str) -> usize {
    loop {
        match tokens.get(matched) {
            Some(wanted) if wanted == token => return matched + 1,
            _ if matched == 0 => return 0,
            _ => matched = fallback[matched - 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn tokens(tokenizer: Tokenizer, text: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        tokenizer.each_token(text, &mut |token| {
            tokens.push(token.to_owned());
            true
        });
        tokens
    }

    fn with(split: Split, min_len: Option<usize>, max_len: Option<usize>) -> Tokenizer {
        Tokenizer { split, min_len, max_len, ..Tokenizer::default() }
    }

    #[test]
    fn words_end_at_what_is_no_letter_and_no_digit() {
        let word = with(Split::Word, None, None);
        assert_eq!(
            tokens(word, "Hello, wörld! ПРИВЕТ-мир_2"),
            ["hello", "wörld", "привет", "мир", "2"]
        );
        assert_eq!(tokens(word, " ,.! "), [] as [&str; 0]);
        let whitespace = with(Split::Whitespace, None, None);
        assert_eq!(tokens(whitespace, " Hello,\tWorld!\n"), ["hello,", "world!"]);
        let exact = Tokenizer { lowercase: false, ..word };
        assert_eq!(tokens(exact, "Hello World"), ["Hello", "World"]);
    }

    #[test]
    fn prefixes_are_of_a_text_and_a_query_asks_for_the_longest() {
        let prefix = with(Split::Prefix, Some(1), Some(4));
        assert_eq!(tokens(prefix, "hello, мир!"), ["h", "he", "hel", "hell", "м", "ми", "мир"]);
        assert_eq!(prefix.query_tokens("hello, мир!"), ["hell", "мир"]);
        assert_eq!(tokens(with(Split::Prefix, Some(3), None), "ab abcd"), ["abc", "abcd"]);
        let long = "a".repeat(10_000);
        assert_eq!(tokens(with(Split::Prefix, None, None), &long).len(), MAX_PREFIX_CHARS);
        let query = TextQuery::new(with(Split::Prefix, None, None), Wanted::All, &long);
        assert!(query.matches(&long), "cut alike on both sides");
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        assert_eq!(tokens(with(Split::Word, Some(2), Some(3)), "a äö öäü abcd"), ["äö", "öäü"]);
        assert_eq!(tokens(with(Split::Word, Some(0), None), "a"), ["a"]);
    }

    #[test]
    fn queries_ask_for_all_for_any_or_for_a_phrase() {
        let matches = |wanted, query: &str, text: &str| {
            TextQuery::new(Tokenizer::default(), wanted, query).matches(text)
        };
        let text = "The quick brown fox, the quick red fox";
        assert!(matches(Wanted::All, "RED quick quick", text));
        assert!(!matches(Wanted::All, "red wolf", text));
        assert!(!matches(Wanted::All, "qui", text), "a token is compared whole");
        assert!(matches(Wanted::Any, "red wolf", text));
        assert!(!matches(Wanted::Any, "blue wolf", text));
        assert!(
            matches(Wanted::Phrase, "the quick red", text),
            "after a beginning that went wrong"
        );
        assert!(!matches(Wanted::Phrase, "quick fox", text));
        for wanted in [Wanted::All, Wanted::Any, Wanted::Phrase] {
            assert!(!matches(wanted, " ,", text), "no token, no match");
        }
    }

    #[test]
    fn parameters_are_read_and_what_is_not_there_is_named() {
        let parse = |json: Value| Tokenizer::parse(json.as_object().unwrap());
        assert_eq!(parse(json!({"type": "text", "on_disk": true})), Ok(Tokenizer::default()));
        assert_eq!(
            parse(
                json!({"tokenizer": "prefix", "min_token_len": 2, "max_token_len": 9, "lowercase": false})
            ),
            Ok(Tokenizer {
                split: Split::Prefix,
                lowercase: false,
                min_len: Some(2),
                max_len: Some(9)
            })
        );
        assert!(parse(json!({"stemmer": null, "ascii_folding": false})).is_ok());
        for (json, feature) in [
            (json!({"tokenizer": "multilingual"}), "tokenizer `multilingual`"),
            (json!({"stopwords": "english"}), "text index parameter `stopwords`"),
            (json!({"stemmer": {"type": "snowball"}}), "text index parameter `stemmer`"),
            (json!({"ascii_folding": true}), "text index parameter `ascii_folding`"),
        ] {
            assert_eq!(parse(json), Err(TokenizerError::Unsupported(feature.into())));
        }
        for (json, place) in [
            (json!({"tokenizer": "words"}), "tokenizer:"),
            (json!({"tokenizer": 1}), "tokenizer:"),
            (json!({"lowercase": 1}), "lowercase:"),
            (json!({"min_token_len": -1}), "min_token_len:"),
            (json!({"max_token_len": "9"}), "max_token_len:"),
        ] {
            let Err(TokenizerError::Invalid(text)) = parse(json) else { panic!("{place}") };
            assert!(text.starts_with(place), "{text}");
        }
    }

    proptest! {
        #[test]
        fn queries_answer_by_their_definitions(
            text in prop::collection::vec("[ab]{1,2}", 0..12), query in prop::collection::vec("[ab]{1,2}", 0..4)
        ) {
            let ask = |wanted| {
                TextQuery::new(Tokenizer::default(), wanted, &query.join(" ")).matches(&text.join("-"))
            };
            let given = !query.is_empty();
            prop_assert_eq!(ask(Wanted::All), given && query.iter().all(|token| text.contains(token)));
            prop_assert_eq!(ask(Wanted::Any), query.iter().any(|token| text.contains(token)));
            let phrase = given && text.windows(query.len()).any(|window| *window == query[..]);
            prop_assert_eq!(ask(Wanted::Phrase), phrase);
        }

        #[test]
        fn any_text_has_tokens_that_find_it(text in ".{0,40}", min in 0usize..4, max in 1usize..6) {
            for split in [Split::Word, Split::Whitespace, Split::Prefix] {
                for tokenizer in [with(split, None, None), with(split, Some(min), Some(max))] {
                    let any = !tokens(tokenizer, &text).is_empty();
                    let query = TextQuery::new(tokenizer, Wanted::All, &text);
                    prop_assert_eq!(query.matches(&text), any && !tokenizer.query_tokens(&text).is_empty());
                }
            }
        }
    }
}
