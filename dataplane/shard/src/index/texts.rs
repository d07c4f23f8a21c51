//! Texts by their tokens: which points have a text with these.
//!
//! Invariant: tokens are those that a matcher makes with the same tokenizer. Which of several texts of a point a token is
//! in, and where, is not kept, so there, and for phrases, points are only said to be possible.

use serde::{Deserialize, Serialize};
use shoal_vector::text::Tokenizer;

use super::answer::Answer;
use super::bits::Bits;
use super::dictionary::Dictionary;

/// See the file's comment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Texts {
    pub(super) tokenizer: Tokenizer,
    pub(super) tokens: Dictionary<String>,
    /// Points with a text, also one without a token.
    pub(super) texts: Bits,
    /// Whether a point has more than one.
    pub(super) several: bool,
}

impl Texts {
    /// Checks what was read from a disk.
    pub(super) fn revive(&mut self, len: u32) -> Result<(), &'static str> {
        match self.texts.is_whole(len) {
            true => self.tokens.revive(len),
            false => Err("it is of another number of points"),
        }
    }

    /// Points with a text that has all tokens of this one.
    pub(super) fn with_all(&self, text: &str) -> Answer {
        Answer::of(self.in_all(&self.tokenizer.query_tokens(text)), !self.several)
    }

    /// Points with a text that has one of the tokens of this one.
    pub(super) fn with_any(&self, text: &str) -> Answer {
        let mut bits = Bits::none(self.texts.len());
        let tokens = self.tokenizer.query_tokens(text);
        tokens.iter().for_each(|token| self.tokens.add_one(&mut bits, token.as_str()));
        Answer::exactly(bits)
    }

    /// Points that may have a text with the tokens of this one in their order.
    pub(super) fn with_phrase(&self, text: &str) -> Answer {
        let mut tokens = Vec::new();
        self.tokenizer.each_token(text, &mut |token| {
            tokens.push(token.to_owned());
            true
        });
        let is_one = tokens.len() <= 1;
        Answer::of(self.in_all(&tokens), is_one)
    }

    fn in_all(&self, tokens: &[String]) -> Bits {
        let mut all: Option<Bits> = None;
        for token in tokens {
            let mut bits = Bits::none(self.texts.len());
            self.tokens.add_one(&mut bits, token.as_str());
            match &mut all {
                Some(all) => all.keep(&bits),
                None => all = Some(bits),
            }
        }
        // A query without a token matches nothing.
        all.unwrap_or_else(|| Bits::none(self.texts.len()))
    }

    pub(super) fn bytes(&self) -> usize {
        let text = self.tokens.keys().iter().map(String::len).sum::<usize>();
        self.tokens.bytes() + text + size_of_val(self.texts.words())
    }
}
