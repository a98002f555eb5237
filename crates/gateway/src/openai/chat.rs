use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ApiError;
use super::options::{KNOWN_TO_BOTH, Options, parse_object, read};

/// Longest list of messages in one request.
pub(crate) const MESSAGES_MAX: usize = 256;
/// Most alternatives a token's log-probability comes with, as at OpenAI's chat.
pub(crate) const TOP_LOGPROBS_MAX: u8 = 20;
/// Longest name of a schema, as at OpenAI.
const SCHEMA_NAME_BYTES_MAX: usize = 64;

/// Body of `POST /v1/chat/completions`; what we use of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChatRequest {
    /// What it shares with plain completions.
    pub(crate) options: Options,
    /// What it has alone.
    pub(crate) own: Own,
}

/// What chat has alone.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Own {
    /// The conversation, oldest first.
    pub(crate) messages: Vec<Message>,
    /// Longest answer in tokens.
    #[serde(default)]
    max_tokens: Option<u32>,
    /// The newer name of `max_tokens`; wins where both are given.
    #[serde(default)]
    max_completion_tokens: Option<u32>,
    /// Whether each token comes with its log-probability.
    #[serde(default)]
    logprobs: Option<bool>,
    /// And with those of this many alternatives.
    #[serde(default)]
    top_logprobs: Option<u8>,
    /// Text, or JSON of any or of a given form.
    #[serde(default)]
    pub(crate) response_format: Option<ResponseFormat>,
}

/// What the answer must be.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ResponseFormat {
    /// Anything.
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON of a schema.
    JsonSchema {
        /// The schema and its name.
        json_schema: NamedSchema,
    },
}

impl ResponseFormat {
    /// Whether anything may be answered.
    pub(crate) fn is_text(&self) -> bool {
        *self == Self::Text
    }
}

/// A JSON schema as OpenAI takes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct NamedSchema {
    /// For messages.
    pub(crate) name: String,
    /// JSON Schema. It is enforced whether `strict` is asked for or not.
    pub(crate) schema: Value,
}

impl NamedSchema {
    fn check(&self) -> Result<(), ApiError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if (1..=SCHEMA_NAME_BYTES_MAX).contains(&self.name.len()) && self.name.chars().all(plain) {
            return Ok(());
        }
        let message = format!(
            "`name` must have 1 to {SCHEMA_NAME_BYTES_MAX} letters, digits, underscores or dashes."
        );
        Err(ApiError::invalid("response_format.json_schema.name", message))
    }
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

/// Parameters of chat alone that we read; any other is ignored and named in a warning header.
const KNOWN: &[&str] = &[
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "logprobs",
    "top_logprobs",
    "response_format",
];

impl ChatRequest {
    /// Parses a body, naming the parameter that is wrong, and lists the parameters that were ignored.
    pub(crate) fn parse(body: &[u8]) -> Result<(Self, Vec<String>), ApiError> {
        let (value, ignored) = parse_object(body, &[KNOWN_TO_BOTH, KNOWN])?;
        let request = Self { options: read(&value)?, own: read(&value)? };
        request.check()?;
        Ok((request, ignored))
    }

    /// Longest answer asked for, in tokens.
    pub(crate) fn tokens_max(&self) -> Option<u32> {
        self.own.max_completion_tokens.or(self.own.max_tokens)
    }

    /// How many alternatives each token's log-probability comes with; `None` for no log-probabilities.
    pub(crate) fn logprobs(&self) -> Option<u8> {
        (self.own.logprobs == Some(true)).then(|| self.own.top_logprobs.unwrap_or(0))
    }

    fn check(&self) -> Result<(), ApiError> {
        self.options.check()?;
        if self.tokens_max() == Some(0) {
            return Err(ApiError::invalid("max_tokens", "`max_tokens` must be at least 1."));
        }
        if self.own.top_logprobs.is_some_and(|count| count > TOP_LOGPROBS_MAX) {
            let message = format!("`top_logprobs` must be between 0 and {TOP_LOGPROBS_MAX}.");
            return Err(ApiError::invalid("top_logprobs", message));
        }
        if self.own.top_logprobs.is_some() && self.own.logprobs != Some(true) {
            let message = "`top_logprobs` needs `logprobs` to be true.";
            return Err(ApiError::invalid("top_logprobs", message));
        }
        if let Some(ResponseFormat::JsonSchema { json_schema }) = &self.own.response_format {
            json_schema.check()?;
        }
        let messages = &self.own.messages;
        if messages.is_empty() || messages.len() > MESSAGES_MAX {
            let message = format!("`messages` must hold 1 to {MESSAGES_MAX} messages.");
            return Err(ApiError::invalid("messages", message));
        }
        for (index, message) in messages.iter().enumerate() {
            message.check(index)?;
        }
        if messages.last().is_some_and(|last| last.role != "user") {
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
        assert_eq!(param(r#""n":129"#).as_deref(), Some("n"));
        assert_eq!(param(r#""top_logprobs":2"#).as_deref(), Some("top_logprobs"));
        assert_eq!(param(r#""logprobs":true,"top_logprobs":21"#).as_deref(), Some("top_logprobs"));
        assert_eq!(param(r#""presence_penalty":-3"#).as_deref(), Some("presence_penalty"));
        assert_eq!(param(r#""max_tokens":0"#).as_deref(), Some("max_tokens"));
        assert_eq!(param(r#""stop":["a","b","c","d","e"]"#).as_deref(), Some("stop"));
        let kind = param(r#""response_format":{"type":"yaml"}"#);
        assert_eq!(kind.as_deref(), Some("response_format.type"));
        for format in
            [r#"{"type":"json_schema"}"#, r#"{"type":"json_schema","json_schema":{"name":"a"}}"#]
        {
            let param = param(&format!(r#""response_format":{format}"#));
            assert_eq!(param.as_deref(), Some("response_format"), "{format}");
        }
        let named = r#"{"type":"json_schema","json_schema":{"name":"a b","schema":{}}}"#;
        let param = param(&format!(r#""response_format":{named}"#));
        assert_eq!(param.as_deref(), Some("response_format.json_schema.name"));
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
        let body = r#"{"model":"m","tools":[],"messages":[{"role":"user",
            "content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}"#;
        let (request, ignored) = ChatRequest::parse(body.as_bytes()).unwrap();
        assert_eq!(request.own.messages[0].text(), "ab");
        assert_eq!(ignored, ["tools"]);
    }
}
