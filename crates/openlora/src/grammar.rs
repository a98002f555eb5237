//! Answers that must be JSON: which tokens may come next.
//!
//! ```text
//! bytes of all tokens ─▶ Grammars ─▶ schema ─▶ Grammar ─▶ a Matcher for each answer ─▶ allowed tokens
//! ```
//!
//! `Grammars` is made once for a tokenizer, a `Grammar` once for a request. The state of an answer is its
//! own and moves with each token that was drawn, and with nothing else: an answer that waits and is read
//! again draws no token, so its state stays what it was.
//!
//! **Invariant:** an answer that ends by the grammar is a whole document of it.
//! **Invariant:** a schema is measured before it is compiled, and compiling and each step have a budget: who
//! writes a schema cannot keep others waiting.

mod schema_budget;

use core::fmt;

use llguidance::{
    Matcher as Inner, ParserFactory,
    api::{ParserLimits, TopLevelGrammar},
    toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie},
};
use openledger_model::Tokenizer;
use serde_json::{Value, json};
use std::sync::Arc;

pub use schema_budget::SCHEMA_BYTES_MAX;

use crate::Error;

/// Most white space between two parts of a document, in characters. A model that has nothing to say would
/// otherwise write blanks until its limit.
const WHITE_SPACE_MAX: usize = 8;

/// What one schema may cost, in the units of the library: the figures are its own measurements.
fn limits() -> ParserLimits {
    ParserLimits {
        // Nodes of regular expressions made when a schema is compiled: 50,000 take a millisecond.
        initial_lexer_fuel: 500_000,
        // And for one mask: 14,000 take a millisecond.
        step_lexer_fuel: 100_000,
        // Parser items for one mask: 20,000 take a millisecond.
        step_max_items: 20_000,
        max_items_in_row: 2_000,
        // One or two kilobytes each, for as long as the answers of the request last.
        max_lexer_states: 10_000,
        max_grammar_size: 100_000,
        precompute_large_lexemes: true,
        // What failed is for whoever wrote the schema, the state of the parser is not.
        verbose_errors: false,
    }
}

/// What no token of a text begins with: marks tokens that no text can have.
const CONTROL_MARK: u8 = 0xFF;

/// Makes grammars over one vocabulary.
pub struct Grammars {
    factory: ParserFactory,
    object: Grammar,
}

/// The documents an answer may be. Cheap to clone.
#[derive(Clone)]
pub struct Grammar {
    start: Arc<Inner>,
    vocabulary: usize,
}

/// How far one answer is.
pub(crate) struct Matcher {
    inner: Inner,
}

/// Tokens that may come next.
#[derive(Debug, Clone)]
pub struct AllowedTokens(SimpleVob);

impl AllowedTokens {
    /// Whether this one may; none outside the vocabulary may.
    pub fn contains(&self, token: u32) -> bool {
        (token as usize) < self.0.len() && self.0.is_allowed(token)
    }

    /// Makes the logits of all other tokens −∞.
    pub(crate) fn forbid_others(&self, logits: &mut [f32]) {
        const WORD: usize = u32::BITS as usize;
        let words = self.0.as_slice().iter().copied().chain(std::iter::repeat(0));
        for ((first, logits), word) in
            (0u32..).step_by(WORD).zip(logits.chunks_mut(WORD)).zip(words)
        {
            if word == 0 {
                logits.fill(f32::NEG_INFINITY);
            } else {
                let others = (first..).zip(logits).filter(|(token, _)| !self.contains(*token));
                others.for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
            }
        }
    }
}

impl Grammars {
    /// For the tokens of `tokenizer`, of which `end` ends an answer.
    ///
    /// Errors: [`Error::Invalid`] if the vocabulary cannot be used.
    pub fn new(tokenizer: &Tokenizer, end: u32) -> Result<Self, Error> {
        let word = |id| match tokenizer.token_bytes(id) {
            Some(bytes) if tokenizer.is_control(id) => [vec![CONTROL_MARK], bytes].concat(),
            other => other.unwrap_or_default(),
        };
        let words: Vec<Vec<u8>> = (0..tokenizer.vocabulary_size() as u32).map(word).collect();
        Self::of_words(&words, end)
    }

    /// For tokens with these bytes.
    pub(crate) fn of_words(words: &[Vec<u8>], end: u32) -> Result<Self, Error> {
        let failed = |why: String| Error::Invalid { field: "tokenizer", why };
        let size = u32::try_from(words.len()).map_err(|error| failed(error.to_string()))?;
        if end >= size {
            return Err(failed(format!("the end token {end} is outside the vocabulary of {size}")));
        }
        let trie = TokTrie::from(&TokRxInfo::new(size, end), words);
        let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new(
            &tokens,
            InferenceCapabilities::default(),
            &llguidance::earley::SlicedBiasComputer::json_slices(),
        )
        .map_err(|error| failed(error.to_string()))?;
        factory.quiet();
        *factory.limits_mut() = limits();
        let object = compile(&factory, json!({ "type": "object" }))?;
        Ok(Self { factory, object })
    }

    /// Any JSON object.
    pub fn object(&self) -> Grammar {
        self.object.clone()
    }

    /// What a JSON Schema allows. Takes some milliseconds of a core.
    ///
    /// Errors: [`Error::Invalid`] with the field `response_format` if it is too long, asks for what cannot be
    /// enforced, or exceeds its budget.
    pub fn schema(&self, schema: &Value) -> Result<Grammar, Error> {
        let refused = |why| Error::Invalid { field: "response_format", why };
        schema_budget::check(schema).map_err(refused)?;
        compile(&self.factory, schema.clone())
    }
}

/// Where the library looks for its own options in a schema.
const OPTIONS: &str = "x-guidance";

fn compile(factory: &ParserFactory, mut schema: Value) -> Result<Grammar, Error> {
    schema[OPTIONS] = json!({
        "whitespace_pattern": format!("[\\x20\\x0A\\x0D\\x09]{{1,{WHITE_SPACE_MAX}}}"),
    });
    let parser = factory.create_parser(TopLevelGrammar::from_json_schema(schema));
    let mut start = Inner::new(parser);
    // The first mask is part of the test: what exceeds the budget at once is refused at once.
    let compiled = start.compute_mask();
    if let Some(why) = start.get_error().or_else(|| compiled.err().map(|e| e.to_string())) {
        return Err(Error::Invalid { field: "response_format", why: first_line(&why) });
    }
    let vocabulary = factory.tok_env().tok_trie().vocab_size();
    Ok(Grammar { start: Arc::new(start), vocabulary })
}

/// What the library says without the state it adds. Where it names a setting of its own, what to do instead.
fn first_line(why: &str) -> String {
    let why = match why.lines().next().unwrap_or_default() {
        line if line.contains("coerce_one_of") => {
            "the alternatives of a oneOf do not exclude each other; write anyOf"
        }
        line => line,
    };
    format!("the schema cannot be enforced: {why}")
}

impl Grammar {
    /// Tokens it knows.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The state of an answer that has not begun.
    pub(crate) fn matcher(&self) -> Matcher {
        // Deep: the states that answers explore are their own and go with them.
        Matcher { inner: self.start.deep_clone() }
    }
}

impl Matcher {
    /// Tokens that may come next, at least one.
    ///
    /// Errors: why the budget did not suffice.
    pub(crate) fn allowed(&mut self) -> Result<AllowedTokens, String> {
        let mask = self.inner.compute_mask_or_eos().map_err(|error| first_line(&error.to_string()));
        mask.map(AllowedTokens)
    }

    /// Moves by one token that was allowed. Returns whether the document is whole and nothing can follow.
    pub(crate) fn push(&mut self, token: u32) -> Result<bool, String> {
        let moved = self.inner.consume_token(token);
        moved.map_err(|error| first_line(&error.to_string()))?;
        Ok(self.inner.is_stopped())
    }
}

impl fmt::Debug for Grammars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammars").finish_non_exhaustive()
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammar").field("vocabulary", &self.vocabulary).finish_non_exhaustive()
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matcher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
