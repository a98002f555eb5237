//! The text a base model is trained on: data files to one stream of tokens.
//!
//! ```text
//! Source files ─▶ documents ─┬▶ vocabulary
//!                            └▶ held out │ repeated, shuffled ─▶ tokens
//! ```
//!
//! **Invariant:** recipe and files decide every token; a file with another digest is refused.

use std::path::Path;

use openledger_model::{ChatTemplate, Message, Tokenizer, train_byte_level_bpe};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::base_recipe::{BaseRecipe, Source};
use crate::corpus_error::CorpusError;
use crate::corpus_forms::{Document, documents};

/// The documents of a recipe, before they become tokens.
#[derive(Debug)]
pub struct Corpus {
    train: Vec<(usize, Document)>,
    held_out: Vec<(usize, Document)>,
    repeats: Vec<usize>,
    sources: Vec<SourceReport>,
}

/// What one source gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceReport {
    /// Name of the data set.
    pub name: String,
    /// SPDX licence expression.
    pub licence: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Documents made of it.
    pub documents: usize,
    /// Bytes of text in them.
    pub text_bytes: usize,
    /// How often they are repeated.
    pub repeat: usize,
    /// Training tokens, repeats included.
    pub tokens: usize,
}

/// A corpus in tokens, 16 bits each. Documents follow one another, each closed by the end token.
#[derive(Debug)]
pub struct CorpusTokens {
    /// Shuffled training text.
    pub train: Vec<u16>,
    /// Text that is never trained on.
    pub held_out: Vec<u16>,
    /// What came from where.
    pub sources: Vec<SourceReport>,
}

impl Corpus {
    /// Reads the files of `recipe` from `data_dir`.
    ///
    /// Errors: [`CorpusError::Read`], [`CorpusError::OtherData`], [`CorpusError::Malformed`].
    pub fn read(recipe: &BaseRecipe, data_dir: &Path) -> Result<Self, CorpusError> {
        let mut corpus = Self { train: vec![], held_out: vec![], repeats: vec![], sources: vec![] };
        for source in &recipe.data {
            corpus.add(source, data_dir, recipe.held_out_every)?;
        }
        Ok(corpus)
    }

    /// Learns the recipe's vocabulary from the training documents, each counted once.
    ///
    /// Errors: [`CorpusError::Text`].
    pub fn train_tokenizer(&self, recipe: &BaseRecipe) -> Result<Tokenizer, CorpusError> {
        let control: Vec<&str> = recipe.tokenizer.control.iter().map(String::as_str).collect();
        let texts = self.train.iter().flat_map(|(_, document)| document.texts());
        Ok(train_byte_level_bpe(texts, &control, recipe.tokenizer.vocabulary_size)?)
    }

    /// Repeats, shuffles and encodes the documents.
    ///
    /// Errors: [`CorpusError::Text`], [`CorpusError::WideToken`].
    pub fn tokens(
        &self,
        tokenizer: &Tokenizer,
        template: &ChatTemplate,
        seed: u64,
    ) -> Result<CorpusTokens, CorpusError> {
        let mut sources = self.sources.clone();
        let encode = |part: &[(usize, Document)]| -> Result<Vec<Vec<u16>>, CorpusError> {
            part.iter().map(|(_, document)| encode(document, tokenizer, template)).collect()
        };
        let train = encode(&self.train)?;
        for ((source, _), tokens) in self.train.iter().zip(&train) {
            sources[*source].tokens += tokens.len() * self.repeats[*source];
        }
        let repeated = |place: usize| std::iter::repeat_n(place, self.repeats[self.train[place].0]);
        let mut order: Vec<usize> = (0..train.len()).flat_map(repeated).collect();
        shuffle(&mut order, seed);
        Ok(CorpusTokens {
            train: order.iter().flat_map(|place| &train[*place]).copied().collect(),
            held_out: encode(&self.held_out)?.concat(),
            sources,
        })
    }

    fn add(
        &mut self,
        source: &Source,
        data_dir: &Path,
        held_out_every: usize,
    ) -> Result<(), CorpusError> {
        let path = data_dir.join(&source.file);
        let bytes = std::fs::read(&path).map_err(|error| CorpusError::read(&path, error))?;
        let sha256: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        if sha256 != source.sha256 {
            let expected = source.sha256.clone();
            return Err(CorpusError::OtherData { path, expected, found: sha256 });
        }
        let text =
            std::str::from_utf8(&bytes).map_err(|error| CorpusError::malformed(&path, error))?;

        let place = self.sources.len();
        let mut report = SourceReport {
            name: source.name.clone(),
            licence: source.licence.clone(),
            sha256,
            file_bytes: bytes.len() as u64,
            documents: 0,
            text_bytes: 0,
            repeat: source.repeat,
            tokens: 0,
        };
        for (number, line) in text.lines().enumerate() {
            let made = documents(&source.form, line).map_err(|error| {
                CorpusError::malformed(&path, format!("line {}: {error}", number + 1))
            })?;
            // Whole records are held out, so no piece of a held-out document is trained on.
            let hold_out = held_out_every > 0 && number % held_out_every == held_out_every - 1;
            let part = if hold_out { &mut self.held_out } else { &mut self.train };
            for document in made {
                report.documents += 1;
                report.text_bytes += document.texts().map(str::len).sum::<usize>();
                part.push((place, document));
            }
        }
        self.sources.push(report);
        self.repeats.push(source.repeat);
        Ok(())
    }
}

fn encode(
    document: &Document,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
) -> Result<Vec<u16>, CorpusError> {
    let tokens = match document {
        Document::Chat { prompt, answer } => {
            template.example(tokenizer, &[Message::user(prompt.as_str())], answer)?.tokens
        }
        Document::Text(text) => {
            let mut tokens = tokenizer.encode(text)?;
            tokens.push(template.end_of_turn(tokenizer)?);
            tokens
        }
    };
    let narrow = |token| u16::try_from(token).map_err(|_| CorpusError::WideToken(token));
    tokens.into_iter().map(narrow).collect()
}

/// Fisher–Yates with SplitMix64 (Steele et al. 2014): the same order on every machine.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    for last in (1..items.len()).rev() {
        // Multiply-shift maps 64 random bits to 0..=last; its bias is below 2^-40 here.
        let chosen = (u128::from(next()) * (last as u128 + 1)) >> 64;
        items.swap(last, chosen as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffling_keeps_every_item_and_depends_on_the_seed_only() {
        let shuffled = |seed| {
            let mut items: Vec<u32> = (0..100).collect();
            shuffle(&mut items, seed);
            items
        };
        assert_eq!(shuffled(1), shuffled(1));
        assert_ne!(shuffled(1), shuffled(2));
        let mut sorted = shuffled(1);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
