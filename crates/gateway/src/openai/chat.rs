use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ApiError;

/// Longest list of messages in one request.
pub(crate) const MESSAGES_MAX: usize = 256;
/// Most stop sequences in one request, as at OpenAI.
pub(crate) const STOP_MAX: usize = 4;

/// Body of `POST /v1/chat/completions`; what we use of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct ChatRequest {
    /// Registered name, alias or adapter hash.
    pub(crate) model: String,
    /// The conversation, oldest first.
    pub(crate) messages: Vec<Message>,
    /// 0 to 2; 0 (greedy) by default, because a receipt is easier to re-run then.
    #[serde(default)]
    pub(crate) temperature: Option<f32>,
    /// 0 to 1.
    #[serde(default)]
    pub(crate) top_p: Option<f32>,
    /// Longest answer in tokens.
    #[serde(default)]
    pub(crate) max_tokens: Option<u32>,
    /// The newer name of `max_tokens`; wins where both are given.
    #[serde(default)]
    pub(crate) max_completion_tokens: Option<u32>,
    /// −2 to 2: taken from a token's logit for each time it stands in the answer.
    #[serde(default)]
    pub(crate) frequency_penalty: Option<f32>,
    /// −2 to 2: taken from a token's logit if it stands in the answer.
    #[serde(default)]
    pub(crate) presence_penalty: Option<f32>,
    /// −100 to 100, added to the logits of these tokens.
    #[serde(default)]
    pub(crate) logit_bias: Option<BTreeMap<u32, f32>>,
    /// Only so many of the most likely tokens are drawn from; 0 is all. As at vLLM.
    #[serde(default)]
    pub(crate) top_k: Option<u32>,
    /// Only tokens at least so likely, relative to the most likely one, are drawn from. As at vLLM.
    #[serde(default)]
    pub(crate) min_p: Option<f32>,
    /// Divides positive logits of tokens that occurred, multiplies negative ones. As at vLLM.
    #[serde(default)]
    pub(crate) repetition_penalty: Option<f32>,
    /// Number of answers; only 1 is served.
    #[serde(default)]
    pub(crate) n: Option<u32>,
    /// Seed of the sampler.
    #[serde(default)]
    pub(crate) seed: Option<i64>,
    /// Server-sent events instead of one document.
    #[serde(default)]
    pub(crate) stream: Option<bool>,
    /// Whether a usage chunk ends the stream.
    #[serde(default)]
    pub(crate) stream_options: Option<StreamOptions>,
    /// Texts that end the answer.
    #[serde(default)]
    pub(crate) stop: Option<Stop>,
}

/// One turn of the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    /// `system`, `developer`, `user` or `assistant`.
    pub(crate) role: String,
    /// Text, or a list of text parts.
    pub(crate) content: Content,
}

/// Text of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Content {
    /// Plain text.
    Text(String),
    /// Parts, of which only text is served.
    Parts(Vec<ContentPart>),
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContentPart {
    /// `text`; anything else is refused.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The text.
    #[serde(default)]
    pub(crate) text: String,
}

/// Options of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct StreamOptions {
    /// Send a last chunk with `usage`.
    #[serde(default)]
    pub(crate) include_usage: bool,
}

/// One stop text or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Stop {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// Parameters we read; any other is ignored and named in a warning header.
const KNOWN: &[&str] = &[
    "model",
    "messages",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "top_k",
    "min_p",
    "repetition_penalty",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "seed",
    "stream",
    "stream_options",
    "stop",
    "user",
    "metadata",
    "store",
];

impl ChatRequest {
    /// Parses a body, naming the parameter that is wrong, and lists the parameters that were ignored.
    pub(crate) fn parse(body: &[u8]) -> Result<(Self, Vec<String>), ApiError> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| ApiError::invalid("body", format!("The body is not JSON: {error}")))?;
        let object = value
            .as_object()
            .ok_or_else(|| ApiError::invalid("body", "The body must be a JSON object."))?;
        let ignored = object.keys().filter(|key| !KNOWN.contains(&key.as_str())).cloned().collect();
        let request: Self = serde_path_to_error::deserialize(&value).map_err(|error| {
            let param = match error.path().to_string() {
                path if path == "." => missing_field(&error.inner().to_string()),
                path => path,
            };
            ApiError::invalid(param, error.inner().to_string())
        })?;
        request.check()?;
        Ok((request, ignored))
    }

    /// Longest answer asked for, in tokens.
    pub(crate) fn tokens_max(&self) -> Option<u32> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    /// Stop texts.
    pub(crate) fn stops(&self) -> Vec<String> {
        match &self.stop {
            None => Vec::new(),
            Some(Stop::One(text)) => vec![text.clone()],
            Some(Stop::Many(texts)) => texts.clone(),
        }
    }

    fn check(&self) -> Result<(), ApiError> {
        let in_range = |param, value: Option<f32>, max| match value {
            Some(value) if !(0.0..=max).contains(&value) => {
                Err(ApiError::invalid(param, format!("`{param}` must be between 0 and {max}.")))
            }
            _ => Ok(()),
        };
        in_range("temperature", self.temperature, 2.0)?;
        in_range("top_p", self.top_p, 1.0)?;
        if self.n.is_some_and(|n| n != 1) {
            return Err(ApiError::invalid(
                "n",
                "Only n = 1 is served: each answer has one receipt.",
            ));
        }
        if self.tokens_max() == Some(0) {
            return Err(ApiError::invalid("max_tokens", "`max_tokens` must be at least 1."));
        }
        if self.messages.is_empty() || self.messages.len() > MESSAGES_MAX {
            let message = format!("`messages` must hold 1 to {MESSAGES_MAX} messages.");
            return Err(ApiError::invalid("messages", message));
        }
        let stops = self.stops();
        if stops.len() > STOP_MAX || stops.iter().any(String::is_empty) {
            let message = format!("`stop` takes up to {STOP_MAX} texts, none of them empty.");
            return Err(ApiError::invalid("stop", message));
        }
        for (index, message) in self.messages.iter().enumerate() {
            message.check(index)?;
        }
        if self.messages.last().is_some_and(|last| last.role != "user") {
            return Err(ApiError::invalid("messages", "The last message must be the user's."));
        }
        Ok(())
    }
}

impl Message {
    /// The text of all parts.
    pub(crate) fn text(&self) -> String {
        match &self.content {
            Content::Text(text) => text.clone(),
            Content::Parts(parts) => parts.iter().map(|part| part.text.as_str()).collect(),
        }
    }

    fn check(&self, index: usize) -> Result<(), ApiError> {
        if !["system", "developer", "user", "assistant"].contains(&self.role.as_str()) {
            let param = format!("messages[{index}].role");
            let message = "The role must be system, developer, user or assistant.";
            return Err(ApiError::invalid(param, message));
        }
        let Content::Parts(parts) = &self.content else { return Ok(()) };
        if parts.iter().any(|part| part.kind != "text") {
            let param = format!("messages[{index}].content");
            return Err(ApiError::invalid(param, "Only text content is served by this model."));
        }
        Ok(())
    }
}

/// serde reports a missing field at the root; the parameter's name stands in backquotes.
fn missing_field(message: &str) -> String {
    message.split('`').nth(1).unwrap_or("body").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_param(body: &str) -> Option<String> {
        ChatRequest::parse(body.as_bytes()).unwrap_err().param
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        let user = r#""messages":[{"role":"user","content":"hi"}]"#;
        let param = |rest: &str| error_param(&format!(r#"{{"model":"m",{user},{rest}}}"#));
        assert_eq!(param(r#""temperature":"hot""#).as_deref(), Some("temperature"));
        assert_eq!(param(r#""temperature":3"#).as_deref(), Some("temperature"));
        assert_eq!(param(r#""n":2"#).as_deref(), Some("n"));
        assert_eq!(param(r#""max_tokens":0"#).as_deref(), Some("max_tokens"));
        assert_eq!(param(r#""stop":["a","b","c","d","e"]"#).as_deref(), Some("stop"));
        assert_eq!(error_param(r#"{"model":"m"}"#).as_deref(), Some("messages"));
        assert_eq!(error_param("[1]").as_deref(), Some("body"));
        assert_eq!(error_param("{").as_deref(), Some("body"));
    }

    #[test]
    fn a_wrong_role_or_part_is_named_with_its_place() {
        let role = r#"{"model":"m","messages":[{"role":"robot","content":"hi"}]}"#;
        assert_eq!(error_param(role).as_deref(), Some("messages[0].role"));
        let part = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#;
        assert_eq!(error_param(part).as_deref(), Some("messages[0].content"));
    }

    #[test]
    fn parts_are_joined_and_unknown_parameters_listed() {
        let body = r#"{"model":"m","reasoning_effort":1,"messages":[{"role":"user",
            "content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}"#;
        let (request, ignored) = ChatRequest::parse(body.as_bytes()).unwrap();
        assert_eq!(request.messages[0].text(), "ab");
        assert_eq!(ignored, ["reasoning_effort"]);
    }
}
