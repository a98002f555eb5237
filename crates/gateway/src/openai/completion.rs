use serde::Deserialize;
use serde_json::Value;

use super::ApiError;
use super::options::{KNOWN_TO_BOTH, Options, parse_object, read};

/// Most prompts in one request.
pub(crate) const PROMPTS_MAX: usize = 32;
/// Most alternatives a token's log-probability comes with, as at OpenAI's completions.
pub(crate) const LOGPROBS_MAX: u8 = 5;
/// Longest answer where the request names no limit, as at OpenAI.
pub(crate) const TOKENS_DEFAULT: u32 = 16;

/// Body of `POST /v1/completions`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CompletionRequest {
    /// What it shares with chat.
    pub(crate) options: Options,
    /// What it has alone.
    pub(crate) own: Own,
}

/// What plain completions have alone.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Own {
    /// One text, several, or the same as token ids.
    pub(crate) prompt: Prompts,
    /// Longest answer in tokens.
    #[serde(default)]
    pub(crate) max_tokens: Option<u32>,
    /// Log-probability of each token, with this many alternatives.
    #[serde(default)]
    pub(crate) logprobs: Option<u8>,
    /// Whether the prompt is repeated before the answer.
    #[serde(default)]
    pub(crate) echo: Option<bool>,
    /// Only as many as `n`.
    #[serde(default)]
    best_of: Option<u32>,
    /// Not served.
    #[serde(default)]
    suffix: Option<String>,
}

/// Prompts in any of the four forms that OpenAI takes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Prompts {
    /// One text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// One prompt as token ids.
    Tokens(Vec<u32>),
    /// Several prompts as token ids.
    TokenLists(Vec<Vec<u32>>),
}

/// One prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PromptRef<'a> {
    /// Text.
    Text(&'a str),
    /// Token ids.
    Tokens(&'a [u32]),
}

impl Prompts {
    /// Each of them.
    pub(crate) fn all(&self) -> Vec<PromptRef<'_>> {
        match self {
            Self::Text(text) => vec![PromptRef::Text(text)],
            Self::Texts(texts) => texts.iter().map(|text| PromptRef::Text(text)).collect(),
            Self::Tokens(tokens) => vec![PromptRef::Tokens(tokens)],
            Self::TokenLists(lists) => lists.iter().map(|list| PromptRef::Tokens(list)).collect(),
        }
    }

    /// Errors: 400 naming `param`, for none, too many or an empty one.
    pub(super) fn check(&self, param: &str) -> Result<(), ApiError> {
        let all = self.all();
        if all.is_empty() || all.len() > PROMPTS_MAX {
            let message = format!("`{param}` must hold 1 to {PROMPTS_MAX} prompts.");
            return Err(ApiError::invalid(param, message));
        }
        let empty = |prompt: &PromptRef<'_>| match prompt {
            PromptRef::Text(text) => text.is_empty(),
            PromptRef::Tokens(tokens) => tokens.is_empty(),
        };
        if all.iter().any(empty) {
            return Err(ApiError::invalid(param, format!("`{param}` must not be empty.")));
        }
        Ok(())
    }
}

const KNOWN: &[&str] = &["prompt", "max_tokens", "logprobs", "echo", "best_of", "suffix"];

impl CompletionRequest {
    /// Parses a body, naming the parameter that is wrong, and lists the parameters that were ignored.
    pub(crate) fn parse(body: &[u8]) -> Result<(Self, Vec<String>), ApiError> {
        let (value, ignored): (Value, _) = parse_object(body, &[KNOWN_TO_BOTH, KNOWN])?;
        let request = Self { options: read(&value)?, own: read(&value)? };
        request.check()?;
        Ok((request, ignored))
    }

    /// Longest answer asked for, in tokens.
    pub(crate) fn tokens_max(&self) -> u32 {
        self.own.max_tokens.unwrap_or(TOKENS_DEFAULT)
    }

    fn check(&self) -> Result<(), ApiError> {
        self.options.check()?;
        self.own.prompt.check("prompt")?;
        if self.own.max_tokens == Some(0) {
            return Err(ApiError::invalid("max_tokens", "`max_tokens` must be at least 1."));
        }
        if self.own.logprobs.is_some_and(|count| count > LOGPROBS_MAX) {
            let message = format!("`logprobs` must be between 0 and {LOGPROBS_MAX}.");
            return Err(ApiError::invalid("logprobs", message));
        }
        if self.own.best_of.is_some_and(|best| best != self.options.choices()) {
            return Err(ApiError::invalid(
                "best_of",
                "`best_of` is served only where it equals `n`.",
            ));
        }
        if self.own.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
            return Err(ApiError::invalid("suffix", "Insertion before a suffix is not served."));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &str) -> Result<CompletionRequest, ApiError> {
        let body = format!(r#"{{"model":"m",{rest}}}"#);
        CompletionRequest::parse(body.as_bytes()).map(|(request, _)| request)
    }

    #[test]
    fn a_prompt_comes_in_four_forms() {
        let prompts = |prompt: &str| {
            let request = parse(&format!(r#""prompt":{prompt}"#)).unwrap();
            request.own.prompt.all().len()
        };
        assert_eq!(prompts(r#""one""#), 1);
        assert_eq!(prompts(r#"["one","two"]"#), 2);
        assert_eq!(prompts("[1,2,3]"), 1);
        assert_eq!(prompts("[[1,2],[3]]"), 2);
    }

    #[test]
    fn what_is_not_served_is_named() {
        let param = |rest: &str| parse(rest).unwrap_err().param;
        assert_eq!(param(r#""max_tokens":1"#).as_deref(), Some("prompt"));
        assert_eq!(param(r#""prompt":"""#).as_deref(), Some("prompt"));
        assert_eq!(param(r#""prompt":"a","logprobs":6"#).as_deref(), Some("logprobs"));
        assert_eq!(param(r#""prompt":"a","best_of":3"#).as_deref(), Some("best_of"));
        assert_eq!(param(r#""prompt":"a","suffix":"b""#).as_deref(), Some("suffix"));
        assert_eq!(param(r#""prompt":"a","n":0"#).as_deref(), Some("n"));
        assert_eq!(param(r#""prompt":"a","logit_bias":{"x":1}"#).as_deref(), Some("logit_bias"));
        assert_eq!(param(r#""prompt":"a","top_k":-5"#).as_deref(), Some("top_k"));
    }
}
