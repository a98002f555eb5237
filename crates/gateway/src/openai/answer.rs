use serde::Serialize;
use serde_json::{Map, Value, json};

/// Why an answer ended, in OpenAI's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Finish {
    /// The model ended it, or a stop text was reached.
    Stop,
    /// The token limit was reached.
    Length,
}

/// Tokens of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    /// Of the prompts.
    pub(crate) prompt_tokens: u64,
    /// Of all answers.
    pub(crate) completion_tokens: u64,
    /// Both.
    pub(crate) total_tokens: u64,
}

impl Usage {
    /// Of this many tokens read and produced.
    pub(crate) fn new(prompt: usize, answer: usize) -> Self {
        Self {
            prompt_tokens: prompt as u64,
            completion_tokens: answer as u64,
            total_tokens: (prompt + answer) as u64,
        }
    }

    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens + other.prompt_tokens,
            completion_tokens: self.completion_tokens + other.completion_tokens,
            total_tokens: self.total_tokens + other.total_tokens,
        }
    }
}

/// A token, and ln p of it given all before.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scored {
    /// What it stands for; not always whole characters.
    pub(crate) bytes: Vec<u8>,
    /// ln p.
    pub(crate) logprob: f32,
}

/// A token of the answer with its likeliest alternatives, itself among them where it is one of these.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TokenLogprob {
    /// The token.
    pub(crate) token: Scored,
    /// Likeliest first.
    pub(crate) top: Vec<Scored>,
}

/// One of the answers to a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice {
    /// Its number.
    pub(crate) index: usize,
    /// Its text.
    pub(crate) text: String,
    /// Why it ended.
    pub(crate) finish: Finish,
    /// Where they were asked for.
    pub(crate) logprobs: Option<Vec<TokenLogprob>>,
}

/// Which of the two ways of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Text,
}

/// What every chunk and document of one completion has in options.
#[derive(Debug, Clone)]
pub(crate) struct Heading {
    /// How it was asked.
    pub(crate) form: Form,
    /// Id of the completion.
    pub(crate) id: String,
    /// Unix seconds.
    pub(crate) created: u64,
    /// Model as registered.
    pub(crate) model: String,
}

impl Heading {
    /// The non-streamed document. `attributions`: one per choice, or none; of an only choice it stands in
    /// the document, of several in each choice.
    pub(crate) fn document(
        &self,
        choices: &[Choice],
        usage: Usage,
        attributions: &[Value],
    ) -> Value {
        let mut choices: Vec<Value> = choices.iter().map(|choice| self.choice(choice)).collect();
        if choices.len() > 1 {
            for (choice, attribution) in choices.iter_mut().zip(attributions) {
                choice["attribution"] = attribution.clone();
            }
        }
        let only = (choices.len() == 1).then(|| attributions.first()).flatten();
        let mut document = self.headed(choices, Chunk::No);
        document["usage"] = json!(usage);
        self.attributed(document, only)
    }

    /// The first chunk of an answer of a chat; plain completions have none.
    pub(crate) fn role_chunk(&self, index: usize) -> Option<Value> {
        let delta = json!({ "role": "assistant", "content": "" });
        (self.form == Form::Chat).then(|| self.delta(index, delta, Value::Null, Value::Null))
    }

    /// A chunk of text. `before`: bytes of the answer that were sent before.
    pub(crate) fn text_chunk(
        &self,
        index: usize,
        text: &str,
        before: usize,
        logprobs: Option<&[TokenLogprob]>,
    ) -> Value {
        let logprobs = self.logprobs(logprobs, before);
        match self.form {
            Form::Chat => self.delta(index, json!({ "content": text }), logprobs, Value::Null),
            Form::Text => self.delta(index, json!(text), logprobs, Value::Null),
        }
    }

    /// The last chunk of an answer, which carries the attribution.
    pub(crate) fn finish_chunk(
        &self,
        index: usize,
        finish: Finish,
        attribution: Option<&Value>,
    ) -> Value {
        let delta = if self.form == Form::Chat { json!({}) } else { json!("") };
        self.attributed(self.delta(index, delta, Value::Null, json!(finish)), attribution)
    }

    /// The usage chunk.
    pub(crate) fn usage_chunk(&self, usage: Usage) -> Value {
        let mut chunk = self.headed(Vec::new(), Chunk::Yes);
        chunk["usage"] = json!(usage);
        chunk
    }

    fn choice(&self, choice: &Choice) -> Value {
        let logprobs = self.logprobs(choice.logprobs.as_deref(), 0);
        let mut value = json!({
            "index": choice.index, "logprobs": logprobs, "finish_reason": choice.finish,
        });
        match self.form {
            Form::Chat => {
                let message =
                    json!({ "role": "assistant", "content": choice.text, "refusal": null });
                value["message"] = message;
            }
            Form::Text => value["text"] = json!(choice.text),
        }
        value
    }

    fn delta(&self, index: usize, delta: Value, logprobs: Value, finish: Value) -> Value {
        let key = if self.form == Form::Chat { "delta" } else { "text" };
        let choice =
            json!({ "index": index, key: delta, "logprobs": logprobs, "finish_reason": finish });
        self.headed(vec![choice], Chunk::Yes)
    }

    fn headed(&self, choices: Vec<Value>, chunk: Chunk) -> Value {
        let object = match (self.form, chunk) {
            (Form::Chat, Chunk::No) => "chat.completion",
            (Form::Chat, Chunk::Yes) => "chat.completion.chunk",
            (Form::Text, _) => "text_completion",
        };
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model,
            "choices": choices,
        })
    }

    fn attributed(&self, mut value: Value, attribution: Option<&Value>) -> Value {
        if let Some(attribution) = attribution {
            value["attribution"] = attribution.clone();
        }
        value
    }

    fn logprobs(&self, logprobs: Option<&[TokenLogprob]>, before: usize) -> Value {
        match (self.form, logprobs) {
            (_, None) => Value::Null,
            (Form::Chat, Some(tokens)) => {
                let content: Vec<Value> = tokens.iter().map(chat_logprob).collect();
                json!({ "content": content, "refusal": null })
            }
            (Form::Text, Some(tokens)) => text_logprobs(tokens, before),
        }
    }
}

#[derive(Clone, Copy)]
enum Chunk {
    Yes,
    No,
}

fn chat_logprob(token: &TokenLogprob) -> Value {
    let mut value = scored(&token.token);
    value["top_logprobs"] = token.top.iter().map(scored).collect();
    value
}

fn scored(token: &Scored) -> Value {
    json!({ "token": token.text(), "logprob": token.logprob, "bytes": token.bytes })
}

fn text_logprobs(tokens: &[TokenLogprob], before: usize) -> Value {
    let mut offset = before;
    let offsets: Vec<usize> = tokens
        .iter()
        .map(|token| {
            let at = offset;
            offset += token.token.bytes.len();
            at
        })
        .collect();
    let top = |token: &TokenLogprob| -> Map<String, Value> {
        token.top.iter().map(|one| (one.text(), json!(one.logprob))).collect()
    };
    json!({
        "tokens": tokens.iter().map(|token| token.token.text()).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|token| token.token.logprob).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}

impl Scored {
    /// The token as text, with U+FFFD for bytes that are part of a character.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heading(form: Form) -> Heading {
        Heading { form, id: "id".into(), created: 7, model: "m".into() }
    }

    fn token(text: &str, logprob: f32) -> TokenLogprob {
        let one = Scored { bytes: text.into(), logprob };
        TokenLogprob { token: one.clone(), top: vec![one] }
    }

    #[test]
    fn a_chat_has_messages_and_a_plain_completion_text() {
        let logprobs = Some(vec![token("he", -0.5), token("y", -0.25)]);
        let choice = Choice { index: 1, text: "hey".into(), finish: Finish::Stop, logprobs };
        let usage = Usage::new(3, 2);
        let chat = heading(Form::Chat).document(std::slice::from_ref(&choice), usage, &[]);
        assert_eq!(chat["object"], "chat.completion");
        assert_eq!(chat["choices"][0]["message"]["content"], "hey");
        assert_eq!(chat["choices"][0]["logprobs"]["content"][1]["bytes"], json!([121]));
        assert_eq!(chat["usage"]["total_tokens"], 5);
        assert!(chat.get("attribution").is_none());
        let text =
            heading(Form::Text).document(&[choice.clone(), choice], usage, &[json!(1), json!(2)]);
        assert_eq!(text["object"], "text_completion");
        assert_eq!(text["choices"][1]["attribution"], 2);
        assert_eq!(text["choices"][0]["text"], "hey");
        assert_eq!(text["choices"][0]["logprobs"]["text_offset"], json!([0, 2]));
        assert_eq!(text["choices"][0]["logprobs"]["token_logprobs"], json!([-0.5, -0.25]));
    }

    #[test]
    fn chunks_of_both_forms_end_with_a_reason() {
        for form in [Form::Chat, Form::Text] {
            let heading = heading(form);
            assert_eq!(heading.role_chunk(0).is_some(), form == Form::Chat);
            let last = heading.finish_chunk(2, Finish::Length, Some(&json!({"a": 1})));
            assert_eq!(last["choices"][0]["finish_reason"], "length");
            assert_eq!(last["choices"][0]["index"], 2);
            assert_eq!(last["attribution"]["a"], 1);
            assert_eq!(heading.usage_chunk(Usage::new(1, 1))["choices"], json!([]));
        }
    }
}
