use serde::Serialize;
use serde_json::{Value, json};

/// Why an answer ended, in OpenAI's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Finish {
    /// The model ended it, or a stop text was reached.
    Stop,
    /// The token limit was reached.
    Length,
}

/// Tokens of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    /// Of the prompt.
    pub(crate) prompt_tokens: u64,
    /// Of the answer.
    pub(crate) completion_tokens: u64,
    /// Both.
    pub(crate) total_tokens: u64,
}

/// What every chunk and document of one completion has in common.
#[derive(Debug, Clone)]
pub(crate) struct Heading {
    /// Id of the completion.
    pub(crate) id: String,
    /// Unix seconds.
    pub(crate) created: u64,
    /// Model as registered.
    pub(crate) model: String,
}

impl Heading {
    /// The non-streamed document.
    pub(crate) fn document(
        &self,
        text: &str,
        finish: Finish,
        usage: Usage,
        attribution: &Value,
    ) -> Value {
        json!({
            "id": self.id, "object": "chat.completion", "created": self.created, "model": self.model,
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": text, "refusal": null },
                "logprobs": null,
                "finish_reason": finish,
            }],
            "usage": usage,
            "attribution": attribution,
        })
    }

    /// The first chunk of a stream.
    pub(crate) fn role_chunk(&self) -> Value {
        self.chunk(json!({ "role": "assistant", "content": "" }), Value::Null)
    }

    /// A chunk of text.
    pub(crate) fn text_chunk(&self, text: &str) -> Value {
        self.chunk(json!({ "content": text }), Value::Null)
    }

    /// The last chunk of the answer, which carries the attribution.
    pub(crate) fn finish_chunk(&self, finish: Finish, attribution: &Value) -> Value {
        let mut chunk = self.chunk(json!({}), json!(finish));
        chunk["attribution"] = attribution.clone();
        chunk
    }

    /// The usage chunk.
    pub(crate) fn usage_chunk(&self, usage: Usage) -> Value {
        let mut chunk = self.chunk(json!({}), Value::Null);
        chunk["choices"] = json!([]);
        chunk["usage"] = json!(usage);
        chunk
    }

    fn chunk(&self, delta: Value, finish: Value) -> Value {
        json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created,
            "model": self.model,
            "choices": [{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }],
        })
    }
}
