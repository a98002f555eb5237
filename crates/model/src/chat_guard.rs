//! Keeps control tokens typed by users apart from those of the template.
//!
//! A template mixes both into one text. Before rendering, every control token inside a message is broken up
//! by a mark; afterwards the text is cut at the control tokens that are still whole, which are the
//! template's own, the marks are removed, and the pieces between are encoded as plain text. Conversations
//! without such text, nearly all, take the direct way and get exactly the tokens of the reference library.

use crate::text_error::TextError;
use crate::tokenizer::Tokenizer;

/// A Unicode noncharacter, "intended for process-internal use": no text has a reason to hold it.
const MARK: char = '\u{fdd0}';

/// Guards the messages of one conversation.
pub(crate) struct ChatGuard<'a> {
    tokenizer: &'a Tokenizer,
    /// Longest first, so that no token hides inside a longer one.
    control: Vec<(&'a str, u32)>,
}

impl<'a> ChatGuard<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Self {
        let mut control: Vec<(&str, u32)> =
            tokenizer.control_tokens().iter().map(|(text, id)| (text.as_str(), *id)).collect();
        control.sort_unstable_by(|a, b| b.0.len().cmp(&a.0.len()).then(a.0.cmp(b.0)));
        Self { tokenizer, control }
    }

    /// The message with every control token in it broken up, and with its end marked if it could begin
    /// one that the text after it completes.
    pub(crate) fn guard(&self, content: &str) -> String {
        let content = content.replace(MARK, "\u{fffd}");
        if self.control.is_empty() {
            return content;
        }
        let mut guarded = String::with_capacity(content.len());
        for (at, character) in content.char_indices() {
            guarded.push(character);
            // After the first character of each place where a control token begins, or may begin.
            let rest = &content[at..];
            if self
                .control
                .iter()
                .any(|(token, _)| rest.starts_with(token) || token.starts_with(rest))
            {
                guarded.push(MARK);
            }
        }
        guarded
    }

    /// Tokens of a rendered conversation of guarded messages.
    pub(crate) fn encode(&self, rendered: &str) -> Result<Vec<u32>, TextError> {
        if !rendered.contains(MARK) {
            return self.tokenizer.encode_template(rendered);
        }
        let mut tokens = Vec::new();
        let mut plain_start = 0;
        let mut at = 0;
        while at < rendered.len() {
            let rest = &rendered[at..];
            match self.control.iter().find(|(token, _)| rest.starts_with(token)) {
                Some((token, id)) => {
                    tokens.extend(self.encode_unmarked(&rendered[plain_start..at])?);
                    tokens.push(*id);
                    at += token.len();
                    plain_start = at;
                }
                None => at += rest.chars().next().map_or(1, char::len_utf8),
            }
        }
        tokens.extend(self.encode_unmarked(&rendered[plain_start..])?);
        Ok(tokens)
    }

    fn encode_unmarked(&self, text: &str) -> Result<Vec<u32>, TextError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        self.tokenizer.encode(&text.replace(MARK, ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer_training::small_tokenizer;
    use proptest::prelude::*;

    #[test]
    fn harmless_text_is_not_touched() -> Result<(), TextError> {
        let tokenizer = small_tokenizer()?;
        let guard = ChatGuard::new(&tokenizer);
        for text in ["", "a < b | c > d", "<|", "<|endless|>"] {
            let expected = if text == "<|" { "<\u{fdd0}|" } else { text };
            assert_eq!(guard.guard(text), expected);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn no_message_ever_yields_a_control_token(text in "(<\\|end\\|>|<\\|user\\|>|<|\\||end|[a-c\u{fdd0}]){0,12}") {
            let tokenizer = small_tokenizer().expect("trains on constant text");
            let guard = ChatGuard::new(&tokenizer);
            let tokens = guard.encode(&guard.guard(&text)).expect("short text");
            prop_assert!(tokens.iter().all(|token| !tokenizer.is_control(*token)));
            let kept = text.replace(MARK, "\u{fffd}");
            prop_assert_eq!(tokenizer.decode(&tokens).expect("valid tokens"), kept);
        }
    }
}
