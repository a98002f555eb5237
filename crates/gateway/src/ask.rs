use std::sync::Arc;

use openledger_model::{DecodeStream, Message, Role};
use openledger_openlora::{AdapterHash, Event, FinishReason, GenerateRequest, Sampling, Token};
use openledger_primitives::{Address, OpenAmount, fee};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{
    Error, Gateway, PublishedModel,
    document::Turn,
    ledger::Terms,
    openai::{ApiError, ChatRequest, Finish, Heading, Usage},
    random,
    stop_filter::StopFilter,
};

/// Longest answer where the request names no limit.
const ANSWER_TOKENS_DEFAULT: usize = 256;

/// A request that is allowed, priced and paid for up to its longest possible answer.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) heading: Heading,
    pub(crate) model: Arc<PublishedModel>,
    pub(crate) payer: Address,
    pub(crate) turns: Vec<Turn>,
    pub(crate) prompt: Vec<u32>,
    pub(crate) terms: Terms,
    adapter: AdapterHash,
    sampling: Sampling,
    tokens_max: usize,
    stops: Vec<String>,
    reserved: OpenAmount,
}

/// What the model produced.
#[derive(Debug)]
pub(crate) struct Produced {
    pub(crate) text: String,
    pub(crate) tokens: Vec<u32>,
    pub(crate) finish: Finish,
}

/// A finished answer with its attribution.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) finish: Finish,
    pub(crate) usage: Usage,
    pub(crate) attribution: Value,
}

/// What the caller of [`Gateway::answer`] receives, in order.
#[derive(Debug)]
pub(crate) enum Piece {
    /// More text.
    Text(String),
    /// The end, attributed and owed.
    Done(Box<Answer>),
    /// The end, without an answer and without a charge.
    Failed(ApiError),
}

impl Gateway {
    /// Checks everything that can be checked before any work is done, and reserves the money.
    pub(crate) async fn admit(
        &self,
        request: &ChatRequest,
        payer: Address,
    ) -> Result<Question, ApiError> {
        let model =
            self.model(&request.model).ok_or_else(|| ApiError::model_not_found(&request.model))?;
        let adapter =
            model.manifest.published().ok_or_else(|| ApiError::model_not_found(&request.model))?;
        let turns: Vec<Turn> = request
            .messages
            .iter()
            .map(|message| Turn { role: message.role.clone(), content: message.text() })
            .collect();
        let messages: Vec<Message> = turns
            .iter()
            .map(|turn| Message::new(role(&turn.role), turn.content.as_str()))
            .collect();
        let prompt = self
            .template
            .prompt(&self.tokenizer, &messages)
            .map_err(|error| ApiError::invalid("messages", error.to_string()))?;
        let tokens_max = self.answer_tokens_max(request, prompt.len())?;
        let sampling = sampling(request);
        sampling.check(self.engine.base().config().vocab_size).map_err(engine_refused)?;

        let terms = self
            .ledger
            .terms(model.manifest.model_id)
            .await
            .map_err(ApiError::chain_unavailable)?;
        let reserved = fee(terms.price, prompt.len() as u64, tokens_max as u64, terms.split)
            .map_err(|error| ApiError::invalid("max_tokens", error.to_string()))?;
        self.reserve(payer, reserved, terms.issued_at).await?;
        Ok(Question {
            heading: Heading {
                id: format!("chatcmpl-{:032x}", random::u128()),
                created: terms.issued_at,
                model: model.manifest.name.clone(),
            },
            model,
            payer,
            turns,
            prompt,
            terms,
            adapter,
            sampling,
            tokens_max,
            stops: request.stops(),
            reserved,
        })
    }

    /// Generates, attributes, signs, keeps. Sends pieces as they come; if nobody listens any more the
    /// generation stops, and what was produced is settled.
    pub(crate) async fn answer(&self, question: Question, pieces: mpsc::Sender<Piece>) {
        let (payer, reserved) = (question.payer, question.reserved);
        let last = match self.produce(&question, &pieces).await {
            Ok(produced) => match self.account(question, produced).await {
                Ok(answer) => Piece::Done(Box::new(answer)),
                Err(error) => {
                    tracing::error!(%error, "an answer could not be attributed");
                    Piece::Failed(ApiError::internal(error))
                }
            },
            Err(error) => Piece::Failed(error),
        };
        self.reservations.lock().await.release(payer, reserved);
        // Nobody may be listening any more; the receipt is kept all the same.
        drop(pieces.send(last).await);
    }

    fn answer_tokens_max(&self, request: &ChatRequest, prompt: usize) -> Result<usize, ApiError> {
        let room = self.context_tokens.saturating_sub(prompt);
        if room == 0 {
            return Err(ApiError::context_length(format!(
                "The prompt has {prompt} tokens; the model's context holds {} with the answer.",
                self.context_tokens
            )));
        }
        let asked = request.tokens_max().map_or(ANSWER_TOKENS_DEFAULT, |max| max as usize);
        Ok(asked.min(room))
    }

    /// Reserves `amount` of what the payer has deposited, has allowed us to charge and does not owe.
    async fn reserve(&self, payer: Address, amount: OpenAmount, now: u64) -> Result<(), ApiError> {
        // Held over the reads, so that two requests cannot both see the same money as free.
        let mut reservations = self.reservations.lock().await;
        let (available, limit) = tokio::try_join!(
            self.ledger.available(payer),
            self.ledger.spending_limit(payer, self.operator())
        )
        .map_err(ApiError::chain_unavailable)?;
        let owed = self.store.owed(payer).await.map_err(ApiError::internal)?;
        let (limit, deadline) = limit;
        if deadline <= now {
            return Err(ApiError::insufficient_quota(format!(
                "The payer {payer} has given the operator {} no spending limit, or it has ended.",
                self.operator()
            )));
        }
        let free = available.min(limit).checked_sub(owed).unwrap_or_default();
        reservations.reserve(payer, amount, free).map_err(|missing| {
            ApiError::insufficient_quota(format!(
                "The answer may cost up to {amount} OPEN; the prepaid balance or the spending limit of \
                 {payer} is {missing} OPEN short. Deposit OPEN, raise the limit, or lower max_tokens."
            ))
        })
    }

    async fn produce(
        &self,
        question: &Question,
        pieces: &mpsc::Sender<Piece>,
    ) -> Result<Produced, ApiError> {
        let end = self.template.end_of_turn(&self.tokenizer).map_err(ApiError::internal)?;
        let request = GenerateRequest {
            tenant: question.payer.to_string().into(),
            prompt: question.prompt.clone(),
            adapters: vec![(question.adapter.into(), 1.0)],
            sampling: question.sampling.clone(),
            tokens_max: question.tokens_max,
            stop_tokens: vec![end],
            logprobs: None,
        };
        let mut events = self.engine.generate(request).map_err(engine_refused)?;
        let mut text = Text::new(question.stops.clone());
        let (mut tokens, mut finish) = (Vec::new(), Finish::Length);
        while let Some(event) = events.recv().await {
            match event {
                Event::Token(Token { id: token, .. }) => {
                    tokens.push(token);
                    let shown = if token == end { String::new() } else { text.push(self, token)? };
                    let gone = !shown.is_empty() && pieces.send(Piece::Text(shown)).await.is_err();
                    if gone || text.stops.stopped() {
                        finish = Finish::Stop;
                        break;
                    }
                }
                Event::Finished(FinishReason::Stop) => finish = Finish::Stop,
                Event::Finished(FinishReason::Length) => {}
                Event::Failed(cause) => return Err(engine_refused(cause)),
            }
        }
        if tokens.is_empty() {
            return Err(ApiError::internal("the model produced nothing"));
        }
        let rest = text.finish(self)?;
        if !rest.is_empty() {
            drop(pieces.send(Piece::Text(rest)).await);
        }
        Ok(Produced { text: text.shown, tokens, finish })
    }

    /// Attribution, receipt, record: from here on the answer is owed.
    async fn account(&self, question: Question, produced: Produced) -> Result<Answer, Error> {
        let usage = Usage {
            prompt_tokens: question.prompt.len() as u64,
            completion_tokens: produced.tokens.len() as u64,
            total_tokens: (question.prompt.len() + produced.tokens.len()) as u64,
        };
        let attribution = self.issue(&question, &produced).await?;
        Ok(Answer { text: produced.text, finish: produced.finish, usage, attribution })
    }
}

/// Tokens to the text a client may see: whole characters, up to the first stop text.
struct Text {
    decoder: DecodeStream,
    stops: StopFilter,
    shown: String,
}

impl Text {
    fn new(stops: Vec<String>) -> Self {
        Self { decoder: DecodeStream::new(), stops: StopFilter::new(stops), shown: String::new() }
    }

    fn push(&mut self, gateway: &Gateway, token: u32) -> Result<String, ApiError> {
        let text = self.decoder.push(&gateway.tokenizer, token).map_err(ApiError::internal)?;
        let shown = self.stops.push(&text);
        self.shown += &shown;
        Ok(shown)
    }

    fn finish(&mut self, gateway: &Gateway) -> Result<String, ApiError> {
        let text = std::mem::take(&mut self.decoder)
            .finish(&gateway.tokenizer)
            .map_err(ApiError::internal)?;
        let mut shown = self.stops.push(&text);
        shown += &self.stops.finish();
        self.shown += &shown;
        Ok(shown)
    }
}

/// What a client is told when the engine does not take a request, or cannot finish it.
fn engine_refused(error: openledger_openlora::Error) -> ApiError {
    use openledger_openlora::Error;
    match error {
        Error::Overloaded { retry_after_ms } => ApiError::overloaded(retry_after_ms),
        Error::Invalid { field, why } => ApiError::invalid(field, why),
        other => ApiError::internal(other),
    }
}

/// Greedy unless the request says otherwise; without a seed each request gets its own.
fn sampling(request: &ChatRequest) -> Sampling {
    Sampling {
        temperature: request.temperature.unwrap_or(0.0),
        top_p: request.top_p.unwrap_or(1.0),
        top_k: request.top_k.unwrap_or(0) as usize,
        min_p: request.min_p.unwrap_or(0.0),
        repetition_penalty: request.repetition_penalty.unwrap_or(1.0),
        frequency_penalty: request.frequency_penalty.unwrap_or(0.0),
        presence_penalty: request.presence_penalty.unwrap_or(0.0),
        logit_bias: request.logit_bias.iter().flatten().map(|(t, bias)| (*t, *bias)).collect(),
        seed: request.seed.map_or_else(|| random::u128() as u64, |seed| seed as u64),
    }
}

pub(crate) fn role(role: &str) -> Role {
    match role {
        "assistant" => Role::Assistant,
        "system" | "developer" => Role::System,
        _ => Role::User,
    }
}
