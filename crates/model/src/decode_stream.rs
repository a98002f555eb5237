//! Text of an answer while it is being generated.

use crate::text_error::TextError;
use crate::tokenizer::Tokenizer;

/// Turns tokens into text piece by piece and never emits half a character.
///
/// The pieces together are [`Tokenizer::decode`] of all tokens. Some vocabularies write a token
/// differently at the start of a text (a leading space is dropped), so each piece is read off as the
/// growth of a window that begins with the tokens of the piece before.
#[derive(Debug, Default, Clone)]
pub struct DecodeStream {
    /// Tokens of the last piece and those not emitted yet.
    window: Vec<u32>,
    /// How many tokens of the window belong to the last piece.
    context_tokens: usize,
    /// Bytes of the window's text that were emitted.
    emitted_bytes: usize,
}

impl DecodeStream {
    /// A stream at the start of an answer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next token, returns the text that became certain: empty while a character is unfinished,
    /// and for control tokens.
    pub fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> Result<String, TextError> {
        self.window.push(token);
        let text = tokenizer.decode(&self.window)?;
        // U+FFFD at the end may be a character whose last bytes are still to come.
        let certain = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
        if certain.len() == text.len() {
            return self.emit_all(tokenizer, text);
        }
        let piece = certain.get(self.emitted_bytes..).unwrap_or_default().to_owned();
        self.emitted_bytes += piece.len();
        Ok(piece)
    }

    /// Ends the answer: text that was held back, with U+FFFD for a character that never got finished.
    pub fn finish(mut self, tokenizer: &Tokenizer) -> Result<String, TextError> {
        let text = tokenizer.decode(&self.window)?;
        self.emit_all(tokenizer, text)
    }

    fn emit_all(&mut self, tokenizer: &Tokenizer, text: String) -> Result<String, TextError> {
        let piece = text.get(self.emitted_bytes..).unwrap_or_default().to_owned();
        if piece.is_empty() {
            // Keeping the old context lets a token without text, such as a control token, pass unnoticed.
            return Ok(piece);
        }
        self.window.drain(..self.context_tokens);
        self.context_tokens = self.window.len();
        self.emitted_bytes = tokenizer.decode(&self.window)?.len();
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer_training::small_tokenizer;
    use proptest::prelude::*;

    fn stream(tokenizer: &Tokenizer, tokens: &[u32]) -> Result<Vec<String>, TextError> {
        let mut stream = DecodeStream::new();
        let mut pieces = Vec::new();
        for token in tokens {
            pieces.push(stream.push(tokenizer, *token)?);
        }
        pieces.push(stream.finish(tokenizer)?);
        Ok(pieces)
    }

    #[test]
    fn a_character_of_several_tokens_arrives_in_one_piece() -> Result<(), TextError> {
        let tokenizer = small_tokenizer()?;
        let tokens = tokenizer.encode("go 🚀!")?;
        let pieces = stream(&tokenizer, &tokens)?;
        assert!(pieces.iter().any(|piece| piece == "🚀"), "{pieces:?}");
        assert!(pieces.iter().all(|piece| !piece.contains(char::REPLACEMENT_CHARACTER)));
        assert_eq!(pieces.concat(), "go 🚀!");
        Ok(())
    }

    #[test]
    fn an_unfinished_character_is_shown_as_such_at_the_end() -> Result<(), TextError> {
        let tokenizer = small_tokenizer()?;
        let tokens = tokenizer.encode("a🚀")?;
        let pieces = stream(&tokenizer, &tokens[..tokens.len() - 1])?;
        assert_eq!(pieces.concat(), "a\u{fffd}");
        Ok(())
    }

    proptest! {
        #[test]
        fn pieces_add_up_to_the_decoded_text(text in "\\PC{0,40}") {
            let tokenizer = small_tokenizer().expect("trains on constant text");
            let tokens = tokenizer.encode(&text).expect("short text");
            prop_assert_eq!(stream(&tokenizer, &tokens).expect("valid tokens").concat(), text);
        }

        #[test]
        fn any_tokens_at_all_stream_to_their_decoded_text(tokens in prop::collection::vec(0u32..290, 0..40)) {
            let tokenizer = small_tokenizer().expect("trains on constant text");
            let whole = tokenizer.decode(&tokens).expect("ids are in range");
            prop_assert_eq!(stream(&tokenizer, &tokens).expect("ids are in range").concat(), whole);
        }
    }
}
