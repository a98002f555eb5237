//! Chat, plain completions and embeddings.

use std::sync::Arc;

use axum::response::Response;
use futures_util::{Stream, StreamExt, stream};
use openledger_model::Message;
use openledger_openlora::Grammar;

use super::ModelServer;
use crate::{
    ask::role,
    openai::{
        ApiError, ChatRequest, Choice, CompletionRequest, EmbeddingsRequest, Form, Heading,
        Options, Usage,
    },
    random,
    reply::{self, Answer, Piece},
    text_model::{Asked, Generation, Shown, sampling},
};

/// Most answers of one request, over all its prompts.
const ANSWERS_MAX: usize = 128;

/// One prompt and how its answers are wanted.
struct Prompted {
    tokens: Vec<u32>,
    tokens_max: usize,
    /// Shown before the answer.
    echo: Option<String>,
}

impl ModelServer {
    /// Refuses what there is no place for, before prompts are tokenised and schemas compiled. Of several prompts the
    /// answers to the first are looked at.
    pub(super) fn expect_places(&self, options: &Options) -> Result<(), ApiError> {
        let adapters = self.adapters_of(&options.model)?;
        let engine = &self.text.engine;
        Ok(engine.expect_places(options.choices() as usize, &tenant(options), &adapters)?)
    }

    /// `POST /v1/chat/completions`.
    pub(super) fn chat(
        &self,
        request: &ChatRequest,
        grammar: Option<Grammar>,
        now: u64,
    ) -> Result<Replies, ApiError> {
        let messages: Vec<Message> = request
            .own
            .messages
            .iter()
            .map(|message| Message::new(role(&message.role), message.text()))
            .collect();
        let tokens = self.text.chat_prompt(&messages)?;
        let tokens_max = self.text.tokens_max(request.tokens_max(), tokens.len(), "messages")?;
        let prompt = Prompted { tokens, tokens_max, echo: None };
        self.begin(Form::Chat, &request.options, vec![prompt], request.logprobs(), grammar, now)
    }

    /// `POST /v1/completions`.
    pub(super) fn complete(
        &self,
        request: &CompletionRequest,
        now: u64,
    ) -> Result<Replies, ApiError> {
        let echo = request.own.echo == Some(true);
        if echo && request.own.logprobs.is_some() {
            let message = "`echo` is not served together with `logprobs`.";
            return Err(ApiError::invalid("echo", message));
        }
        let prompts = request.own.prompt.all().into_iter().map(|prompt| {
            let tokens = self.text.document_prompt("prompt", prompt)?;
            let asked = Some(request.tokens_max());
            let tokens_max = self.text.tokens_max(asked, tokens.len(), "prompt")?;
            let shown = || self.text.tokenizer.decode(&tokens).map_err(ApiError::internal);
            let echo = echo.then(shown).transpose()?;
            Ok(Prompted { tokens, tokens_max, echo })
        });
        let prompts = prompts.collect::<Result<_, ApiError>>()?;
        self.begin(Form::Text, &request.options, prompts, request.own.logprobs, None, now)
    }

    /// `POST /v1/embeddings`.
    pub(super) fn embed(&self, request: &EmbeddingsRequest) -> Result<serde_json::Value, ApiError> {
        if request.model != self.name {
            let message = "Embeddings are of the base alone.";
            return Err(match self.adapters_of(&request.model) {
                Ok(_) => ApiError::invalid("model", message),
                Err(error) => error,
            });
        }
        let size = self.base.config().hidden_size;
        if request.dimensions.is_some_and(|dimensions| dimensions != size) {
            let message = format!("This model's vectors have {size} dimensions.");
            return Err(ApiError::invalid("dimensions", message));
        }
        let (mut vectors, mut read) = (Vec::new(), 0);
        for input in request.input.all() {
            let tokens = self.text.document_prompt("input", input)?;
            let vector = self.base.embed(&tokens, None);
            vectors.push(vector.map_err(|error| ApiError::invalid("input", error.to_string()))?);
            read += tokens.len() as u64;
        }
        Ok(request.document(&self.name, &vectors, read))
    }

    /// Queues all answers of a request, or none: what is queued already is dropped with the error.
    fn begin(
        &self,
        form: Form,
        options: &Options,
        prompts: Vec<Prompted>,
        logprobs: Option<u8>,
        grammar: Option<Grammar>,
        now: u64,
    ) -> Result<Replies, ApiError> {
        let adapters = self.adapters_of(&options.model)?;
        let per_prompt = options.choices() as usize;
        if prompts.len() * per_prompt > ANSWERS_MAX {
            let message = format!("One request has at most {ANSWERS_MAX} answers.");
            return Err(ApiError::invalid("n", message));
        }
        let tenant = tenant(options);
        let prefix_shared = self.shares_prefixes(&adapters);
        let sampling = sampling(options);
        let mut running = Vec::with_capacity(prompts.len() * per_prompt);
        for prompt in prompts {
            let asked = Asked {
                tenant: Arc::clone(&tenant),
                prompt: prompt.tokens,
                adapters: adapters.clone(),
                sampling: sampling.clone(),
                tokens_max: prompt.tokens_max,
                stops: options.stops(),
                logprobs,
                grammar: grammar.clone(),
                prefix_shared,
                cache_salt: options.cache_salt.as_deref().map(Into::into),
            };
            for (number, generation) in self.text.begin(&asked, per_prompt)?.into_iter().enumerate()
            {
                running.push(Running {
                    index: running.len(),
                    generation,
                    // Of several answers to one prompt the first counts it.
                    prompt_tokens: if number == 0 { asked.prompt.len() } else { 0 },
                    echo: prompt.echo.clone(),
                });
            }
        }
        let id = match form {
            Form::Chat => format!("chatcmpl-{:032x}", random::u128()),
            Form::Text => format!("cmpl-{:032x}", random::u128()),
        };
        Ok(Replies {
            heading: Heading { form, id, created: now, model: options.model.clone() },
            streamed: options.streams(),
            usage_wanted: options.usage_wanted(),
            running,
        })
    }
}

/// In whose name a request is answered.
fn tenant(options: &Options) -> Arc<str> {
    options.user.as_deref().unwrap_or_default().into()
}

/// One answer under way.
struct Running {
    index: usize,
    generation: Generation,
    prompt_tokens: usize,
    echo: Option<String>,
}

/// The answers of a request, queued. Dropping them ends their generation.
pub(super) struct Replies {
    heading: Heading,
    streamed: bool,
    usage_wanted: bool,
    running: Vec<Running>,
}

impl Replies {
    /// As the request wants them.
    pub(super) async fn respond(self) -> Result<Response, ApiError> {
        let Self { heading, streamed, usage_wanted, running } = self;
        let choices = running.len();
        let pieces = stream::select_all(running.into_iter().map(|one| Box::pin(one.pieces())));
        if streamed {
            Ok(reply::streamed(heading, choices, usage_wanted, pieces))
        } else {
            reply::whole(&heading, choices, pieces).await
        }
    }
}

impl Running {
    fn pieces(self) -> impl Stream<Item = Piece> + Send {
        let Self { index, generation, prompt_tokens, echo } = self;
        let before = echo.clone().unwrap_or_default();
        let echoed = echo.map(|text| Piece::Text(index, Shown { text, logprobs: Vec::new() }));
        let rest = stream::unfold(Some(generation), move |generation| {
            let before = before.clone();
            async move {
                let mut generation = generation?;
                let piece = match generation.next().await {
                    Ok(Some(shown)) => return Some((Piece::Text(index, shown), Some(generation))),
                    Ok(None) => {
                        let produced = generation.produced();
                        let usage = Usage::new(prompt_tokens, produced.tokens.len());
                        let text = before + &produced.text;
                        let (finish, logprobs) = (produced.finish, produced.logprobs);
                        let choice = Choice { index, text, finish, logprobs };
                        Piece::Done(Box::new(Answer { choice, usage, attribution: None }))
                    }
                    Err(error) => Piece::Failed(error),
                };
                Some((piece, None))
            }
        });
        stream::iter(echoed).chain(rest)
    }
}
