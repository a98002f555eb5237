//! Text to token ids and back, for any Hugging Face `tokenizer.json`.
//!
//! A tokenizer has *control tokens* (`<|end|>`, `<|im_start|>` …) that give a prompt its structure. Two
//! ways of encoding keep them out of strangers' hands: [`Tokenizer::encode`] takes any text and yields
//! control tokens for none of it, [`Tokenizer::encode_template`] is for the output of a chat template only.

use std::collections::HashMap;
use std::path::Path;

use crate::text_error::TextError;
use crate::token_bytes::Pieces;

/// Largest `tokenizer.json` we read. Gemma's, the largest in common use, has 33 MB.
pub const TOKENIZER_BYTES_MAX: u64 = 64 << 20;
/// Most tokens a vocabulary may have. Gemma has 262,144.
pub const VOCABULARY_MAX: usize = 1 << 19;
/// Longest text encoded in one call. Far above any context, low enough that one call stays short.
pub const TEXT_BYTES_MAX: usize = 8 << 20;

/// A vocabulary with its rules for splitting text. Immutable, shared between threads.
pub struct Tokenizer {
    /// Reads control tokens in the text.
    structured: tokenizers::Tokenizer,
    /// Reads everything as plain text.
    plain: tokenizers::Tokenizer,
    control: HashMap<String, u32>,
    control_ids: Vec<u32>,
    unknown_id: Option<u32>,
    vocabulary_size: usize,
    pieces: Pieces,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// Errors: [`TextError::Read`], [`TextError::TooLarge`], and those of [`Tokenizer::from_json`].
    pub fn from_file(path: &Path) -> Result<Self, TextError> {
        let bytes = read_capped(path, "tokenizer.json", TOKENIZER_BYTES_MAX)?;
        Self::from_json(&bytes)
    }

    /// Parses the contents of a `tokenizer.json`.
    ///
    /// Truncation and padding set in the file are ignored: both would silently change a prompt.
    ///
    /// Errors: [`TextError::Tokenizer`] for malformed files, [`TextError::VocabularyTooLarge`].
    pub fn from_json(json: &[u8]) -> Result<Self, TextError> {
        let mut structured = parse(json)?;
        structured.with_padding(None);
        structured.with_truncation(None).map_err(library)?;

        let highest = structured.get_vocab(true).into_values().max().unwrap_or(0);
        let vocabulary_size = highest as usize + 1;
        if vocabulary_size > VOCABULARY_MAX {
            return Err(TextError::VocabularyTooLarge {
                tokens: vocabulary_size,
                tokens_max: VOCABULARY_MAX,
            });
        }
        let control: HashMap<String, u32> = structured
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special)
            .map(|(id, token)| (token.content, id))
            .collect();
        let mut control_ids: Vec<u32> = control.values().copied().collect();
        control_ids.sort_unstable();
        let unknown_id = unknown_token(json).and_then(|token| structured.token_to_id(&token));
        let mut plain = structured.clone();
        plain.set_encode_special_tokens(true);
        let pieces = Pieces::of(structured.get_decoder());
        Ok(Self { structured, plain, control, control_ids, unknown_id, vocabulary_size, pieces })
    }

    /// Encodes text from outside: a prompt, a document, an answer. Never yields a control token, so
    /// `"<|end|>"` typed by a user is seven ordinary characters. Nothing is added at either end.
    ///
    /// Errors: [`TextError::TooLarge`]; [`TextError::ControlTokenFromText`] if this vocabulary cannot
    /// keep its promise for this text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        self.encode_plain(text, false)
    }

    /// [`Tokenizer::encode`] plus what the model expects around a bare document, such as Llama's
    /// beginning-of-text token: the input of a plain completion.
    pub fn encode_document(&self, text: &str) -> Result<Vec<u32>, TextError> {
        // The added tokens are control tokens by design, so the check runs on the text alone.
        self.encode_plain(text, false)?;
        let encoding = self.plain.encode_fast(text, true).map_err(library)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Encodes the output of a chat template: control tokens in it are read as such.
    /// Not for text from outside.
    ///
    /// Errors: [`TextError::TooLarge`].
    pub fn encode_template(&self, text: &str) -> Result<Vec<u32>, TextError> {
        check_length(text)?;
        let encoding = self.structured.encode_fast(text, false).map_err(library)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Text of the tokens, control tokens left out. Bytes that are not UTF-8 become U+FFFD.
    ///
    /// Errors: [`TextError::Tokenizer`] if the vocabulary's decoder fails.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, TextError> {
        self.structured.decode(tokens, true).map_err(library)
    }

    /// Text of the tokens with control tokens written out, for people to look at.
    pub fn decode_with_control(&self, tokens: &[u32]) -> Result<String, TextError> {
        self.structured.decode(tokens, false).map_err(library)
    }

    /// Highest token id plus one. The model's embedding must have at least this many rows.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    /// Id of a token by its text, control token or not.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.structured.token_to_id(token)
    }

    /// A token as the vocabulary writes it.
    pub(crate) fn piece(&self, token: u32) -> Option<String> {
        self.structured.id_to_token(token)
    }

    /// How the vocabulary writes its tokens.
    pub(crate) fn pieces(&self) -> Pieces {
        self.pieces
    }

    /// The control tokens: text and id.
    pub fn control_tokens(&self) -> &HashMap<String, u32> {
        &self.control
    }

    /// Whether this id is a control token.
    pub fn is_control(&self, token: u32) -> bool {
        self.control_ids.binary_search(&token).is_ok()
    }

    /// The file as it would be saved: the same vocabulary gives the same bytes.
    pub fn to_json(&self) -> Result<String, TextError> {
        self.structured.to_string(true).map_err(library)
    }

    fn encode_plain(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TextError> {
        check_length(text)?;
        let encoding = self.plain.encode_fast(text, add_special_tokens).map_err(library)?;
        let tokens = encoding.get_ids();
        match tokens.iter().find(|id| self.is_control(**id) && Some(**id) != self.unknown_id) {
            Some(id) => Err(TextError::ControlTokenFromText { id: *id }),
            None => Ok(tokens.to_vec()),
        }
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocabulary_size", &self.vocabulary_size)
            .finish_non_exhaustive()
    }
}

/// The library ends with a panic on some malformed files; here that is an error like any other.
fn parse(json: &[u8]) -> Result<tokenizers::Tokenizer, TextError> {
    let failed = |why: String| TextError::Tokenizer(format!("cannot parse tokenizer.json: {why}"));
    let _: serde::de::IgnoredAny =
        serde_json::from_slice(json).map_err(|error| failed(error.to_string()))?;
    match std::panic::catch_unwind(|| tokenizers::Tokenizer::from_bytes(json)) {
        Ok(parsed) => parsed.map_err(|error| failed(error.to_string())),
        Err(_) => Err(failed("a part of it is not what its type says".into())),
    }
}

/// Reads a file whose size is known to be bearable before a byte of it is allocated.
pub(crate) fn read_capped(
    path: &Path,
    what: &'static str,
    bytes_max: u64,
) -> Result<Vec<u8>, TextError> {
    use std::io::Read as _;
    let failed = |source| TextError::Read { path: path.display().to_string(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    if bytes > bytes_max {
        return Err(TextError::TooLarge { what, bytes, bytes_max });
    }
    let mut content = Vec::with_capacity(bytes as usize);
    // The file may still grow while it is read.
    file.take(bytes_max).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}

pub(crate) fn library(error: tokenizers::Error) -> TextError {
    TextError::Tokenizer(error.to_string())
}

fn check_length(text: &str) -> Result<(), TextError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(TextError::TooLarge {
            what: "text to encode",
            bytes: text.len() as u64,
            bytes_max: TEXT_BYTES_MAX as u64,
        });
    }
    Ok(())
}

/// The `unk_token` of the vocabulary: some kinds mark it as a control token, yet plain text may give it.
fn unknown_token(json: &[u8]) -> Option<String> {
    let file: serde_json::Value = serde_json::from_slice(json).ok()?;
    let model = file.get("model")?;
    match model.get("unk_token") {
        Some(token) => token.as_str().map(str::to_owned),
        // Unigram vocabularies name the unknown token by its place in the list of (piece, score).
        None => {
            let place = model.get("unk_id")?.as_u64()?;
            model
                .get("vocab")?
                .get(usize::try_from(place).ok()?)?
                .get(0)?
                .as_str()
                .map(str::to_owned)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer_training::small_tokenizer;

    #[test]
    fn text_comes_back_unchanged() -> Result<(), TextError> {
        let tokenizer = small_tokenizer()?;
        for text in [
            "",
            "git commit -m {{message}}",
            "  two  spaces\n\ttab",
            "naïve café 東京 🚀 \u{0}\u{7f}",
        ] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text)?)?, text);
        }
        Ok(())
    }

    #[test]
    fn a_user_cannot_type_a_control_token() -> Result<(), TextError> {
        let tokenizer = small_tokenizer()?;
        let end = tokenizer.token_id("<|end|>").expect("the tokenizer was trained with it");
        assert_eq!(tokenizer.encode_template("<|end|>")?, [end]);
        for text in ["<|end|>", "a<|end|>b", "<|user|><|assistant|>", "<|<|end|>end|>", " <|end|> "]
        {
            let tokens = tokenizer.encode(text)?;
            assert!(tokens.iter().all(|token| !tokenizer.is_control(*token)), "{text}");
            assert_eq!(tokenizer.decode(&tokens)?, text, "typed text is kept, not dropped");
        }
        Ok(())
    }

    #[test]
    fn control_tokens_are_left_out_of_decoded_text() -> Result<(), TextError> {
        let tokenizer = small_tokenizer()?;
        let tokens = tokenizer.encode_template("<|user|>hello<|end|>")?;
        assert_eq!(tokenizer.decode(&tokens)?, "hello");
        assert_eq!(tokenizer.decode_with_control(&tokens)?, "<|user|>hello<|end|>");
        Ok(())
    }

    #[test]
    fn a_saved_tokenizer_is_the_same_tokenizer() -> Result<(), TextError> {
        let tokenizer = small_tokenizer()?;
        let json = tokenizer.to_json()?;
        let again = Tokenizer::from_json(json.as_bytes())?;
        assert_eq!(again.to_json()?, json);
        assert_eq!(again.encode("git commit")?, tokenizer.encode("git commit")?);
        assert_eq!(again.vocabulary_size(), tokenizer.vocabulary_size());
        Ok(())
    }

    #[test]
    fn oversized_input_is_refused_by_name() -> Result<(), TextError> {
        let tokenizer = small_tokenizer()?;
        let text = "a".repeat(TEXT_BYTES_MAX + 1);
        assert!(matches!(
            tokenizer.encode(&text),
            Err(TextError::TooLarge { what: "text to encode", .. })
        ));
        assert!(matches!(Tokenizer::from_json(b"{"), Err(TextError::Tokenizer(_))));
        let missing = Path::new("no/such/tokenizer.json");
        assert!(matches!(Tokenizer::from_file(missing), Err(TextError::Read { .. })));
        Ok(())
    }
}
