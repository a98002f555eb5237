//! An engine with the text around it: prompts in, pieces of text out.

use std::sync::Arc;

use openledger_model::{ChatTemplate, DecodeStream, Message, Tokenizer};
use openledger_openlora::{
    AdapterRef, Event, FinishReason, GenerateRequest, Grammar, Handle as Engine, Sampling, Token,
};
use tokio::sync::mpsc;

use crate::{
    openai::{ApiError, Finish, Options, PromptRef, Scored, TokenLogprob},
    random,
    stop_filter::StopFilter,
};

/// Longest answer of a chat where the request names no limit.
const ANSWER_TOKENS_DEFAULT: u32 = 256;

/// A base that answers, with whatever adapters its engine knows.
#[derive(Debug, Clone)]
pub(crate) struct TextModel {
    pub(crate) engine: Engine,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) template: Arc<ChatTemplate>,
    /// Longest prompt and answer together.
    pub(crate) context_tokens: usize,
}

/// One answer that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) tenant: Arc<str>,
    pub(crate) prompt: Vec<u32>,
    pub(crate) adapters: Vec<(AdapterRef, f32)>,
    pub(crate) sampling: Sampling,
    pub(crate) tokens_max: usize,
    pub(crate) stops: Vec<String>,
    /// Log-probabilities wanted, with this many alternatives.
    pub(crate) logprobs: Option<u8>,
    /// What the answers have to be.
    pub(crate) grammar: Option<Grammar>,
    /// Whether other tenants may profit from the prompt's cached beginning.
    pub(crate) prefix_shared: bool,
    pub(crate) cache_salt: Option<Arc<str>>,
}

/// Text that may be shown, with the tokens that it is made of where these were asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Shown {
    pub(crate) text: String,
    pub(crate) logprobs: Vec<TokenLogprob>,
}

/// What the model produced.
#[derive(Debug)]
pub(crate) struct Produced {
    pub(crate) text: String,
    pub(crate) tokens: Vec<u32>,
    pub(crate) finish: Finish,
    pub(crate) logprobs: Option<Vec<TokenLogprob>>,
}

impl TextModel {
    /// Tokens of a conversation.
    pub(crate) fn chat_prompt(&self, messages: &[Message]) -> Result<Vec<u32>, ApiError> {
        let prompt = self.template.prompt(&self.tokenizer, messages);
        prompt.map_err(|error| ApiError::invalid("messages", error.to_string()))
    }

    /// Tokens of a document that is to be continued or embedded.
    pub(crate) fn document_prompt(
        &self,
        param: &str,
        prompt: PromptRef<'_>,
    ) -> Result<Vec<u32>, ApiError> {
        match prompt {
            PromptRef::Text(text) => {
                let tokens = self.tokenizer.encode_document(text);
                tokens.map_err(|error| ApiError::invalid(param, error.to_string()))
            }
            PromptRef::Tokens(tokens) => {
                let size = self.tokenizer.vocabulary_size();
                if let Some(token) = tokens.iter().find(|token| **token as usize >= size) {
                    let message = format!("Token {token} is outside the vocabulary of {size}.");
                    return Err(ApiError::invalid(param, message));
                }
                Ok(tokens.to_vec())
            }
        }
    }

    /// Longest answer to a prompt: what was asked for, as far as the context has room.
    pub(crate) fn tokens_max(
        &self,
        asked: Option<u32>,
        prompt: usize,
        param: &str,
    ) -> Result<usize, ApiError> {
        let room = self.context_tokens.saturating_sub(prompt);
        if room == 0 {
            let message = format!(
                "The prompt has {prompt} tokens; the model's context holds {} with the answer.",
                self.context_tokens
            );
            return Err(ApiError::context_length(param, message));
        }
        Ok((asked.unwrap_or(ANSWER_TOKENS_DEFAULT) as usize).min(room))
    }

    /// Begins `choices` answers to one prompt, or none. Errors are those of the engine as a client sees them.
    pub(crate) fn begin(&self, asked: &Asked, choices: usize) -> Result<Vec<Generation>, ApiError> {
        let end = self.template.end_of_turn(&self.tokenizer).map_err(ApiError::internal)?;
        let request = GenerateRequest {
            tenant: Arc::clone(&asked.tenant),
            prompt: asked.prompt.clone(),
            adapters: asked.adapters.clone(),
            sampling: asked.sampling.clone(),
            tokens_max: asked.tokens_max,
            stop_tokens: vec![end],
            logprobs: asked.logprobs.map(usize::from),
            grammar: asked.grammar.clone(),
            prefix_shared: asked.prefix_shared,
            cache_salt: asked.cache_salt.clone(),
        };
        let generation = |events| Generation {
            tokenizer: Arc::clone(&self.tokenizer),
            end,
            events,
            decoder: DecodeStream::new(),
            stops: StopFilter::new(asked.stops.clone()),
            held: Vec::new(),
            ended: false,
            produced: Produced {
                text: String::new(),
                tokens: Vec::new(),
                finish: Finish::Length,
                logprobs: asked.logprobs.map(|_| Vec::new()),
            },
        };
        let all = self.engine.generate_all(request, choices)?;
        Ok(all.into_iter().map(generation).collect())
    }
}

/// An answer under way. Dropping it ends the generation within a step.
#[derive(Debug)]
pub(crate) struct Generation {
    tokenizer: Arc<Tokenizer>,
    end: u32,
    events: mpsc::UnboundedReceiver<Event>,
    decoder: DecodeStream,
    stops: StopFilter,
    /// Tokens whose text is not shown yet.
    held: Vec<TokenLogprob>,
    ended: bool,
    produced: Produced,
}

impl Generation {
    /// The next text that may be shown: whole characters, up to the first stop text. `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Shown>, ApiError> {
        while !self.ended {
            let shown = match self.events.recv().await {
                Some(Event::Token(token)) => self.push(token)?,
                Some(Event::Finished(reason)) => {
                    if reason == FinishReason::Stop {
                        self.produced.finish = Finish::Stop;
                    }
                    self.rest()?
                }
                Some(Event::Failed(error)) => return Err(error.into()),
                None => return Err(ApiError::internal("the engine ended without an answer")),
            };
            if !shown.text.is_empty() {
                return Ok(Some(shown));
            }
        }
        Ok(None)
    }

    /// What was produced so far; if nobody listens any more, this is the answer.
    pub(crate) fn produced(mut self) -> Produced {
        if !self.ended {
            self.produced.finish = Finish::Stop;
        }
        self.produced
    }

    fn push(&mut self, token: Token) -> Result<Shown, ApiError> {
        self.produced.tokens.push(token.id);
        if token.id == self.end {
            return Ok(Shown::default());
        }
        if let Some(logprobs) = token.logprobs {
            let scored = |(id, logprob): (u32, f32)| Scored {
                bytes: self.tokenizer.token_bytes(id).unwrap_or_default(),
                logprob,
            };
            self.held.push(TokenLogprob {
                token: scored((token.id, logprobs.chosen)),
                top: logprobs.top.into_iter().map(scored).collect(),
            });
        }
        let text = self.decoder.push(&self.tokenizer, token.id).map_err(ApiError::internal)?;
        let text = self.stops.push(&text);
        if self.stops.stopped() {
            (self.ended, self.produced.finish) = (true, Finish::Stop);
        }
        Ok(self.show(text))
    }

    /// What was held back because it could have become a stop text, or the rest of a character.
    fn rest(&mut self) -> Result<Shown, ApiError> {
        self.ended = true;
        let last = std::mem::take(&mut self.decoder).finish(&self.tokenizer);
        let mut text = self.stops.push(&last.map_err(ApiError::internal)?);
        text += &self.stops.finish();
        Ok(self.show(text))
    }

    fn show(&mut self, text: String) -> Shown {
        if text.is_empty() {
            return Shown::default();
        }
        let logprobs = std::mem::take(&mut self.held);
        self.produced.text += &text;
        if let Some(all) = &mut self.produced.logprobs {
            all.extend_from_slice(&logprobs);
        }
        Shown { text, logprobs }
    }
}

/// Greedy unless the request says otherwise; without a seed each request gets its own.
pub(crate) fn sampling(request: &Options) -> Sampling {
    let biases = request.biases();
    Sampling {
        temperature: request.temperature.unwrap_or(0.0),
        top_p: request.top_p.unwrap_or(1.0),
        top_k: request.top_k.and_then(|k| usize::try_from(k).ok()).unwrap_or(0),
        min_p: request.min_p.unwrap_or(0.0),
        repetition_penalty: request.repetition_penalty.unwrap_or(1.0),
        frequency_penalty: request.frequency_penalty.unwrap_or(0.0),
        presence_penalty: request.presence_penalty.unwrap_or(0.0),
        logit_bias: biases,
        seed: request.seed.map_or_else(|| random::u128() as u64, |seed| seed as u64),
    }
}
