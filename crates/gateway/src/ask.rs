use std::sync::Arc;

use futures_util::future::join_all;
use openledger_model::{Message, Role};
use openledger_primitives::{Address, OpenAmount, fee};
use tokio::sync::mpsc;

use crate::{
    Error, Gateway, PublishedModel,
    document::Turn,
    ledger::Terms,
    openai::{ApiError, ChatRequest, Choice, Form, Heading, Usage},
    random,
    reply::{Answer, Piece},
    text_model::{Asked, Generation, Produced, sampling},
};

/// A request that is allowed, priced and paid for up to its longest possible answers.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) heading: Heading,
    pub(crate) model: Arc<PublishedModel>,
    pub(crate) payer: Address,
    pub(crate) turns: Vec<Turn>,
    pub(crate) prompt: Vec<u32>,
    pub(crate) terms: Terms,
    asked: Asked,
    choices: usize,
    reserved: OpenAmount,
}

impl Gateway {
    /// Checks everything that can be checked before any work is done, and reserves the money.
    pub(crate) async fn admit(
        &self,
        request: &ChatRequest,
        payer: Address,
    ) -> Result<Question, ApiError> {
        let model = self.model(&request.options.model);
        let model = model.ok_or_else(|| ApiError::model_not_found(&request.options.model))?;
        let adapter = model.manifest.published();
        let adapter = adapter.ok_or_else(|| ApiError::model_not_found(&request.options.model))?;
        if request.own.response_format.as_ref().is_some_and(|format| !format.is_text()) {
            let message = "Only `text` is served: what a grammar forces nobody's data explains.";
            return Err(ApiError::invalid("response_format", message));
        }
        let tenant: Arc<str> = payer.to_string().into();
        let adapters = vec![(adapter.into(), 1.0)];
        let choices = request.options.choices();
        // Before the prompt is tokenised and money reserved for what has no place.
        self.text.engine.expect_places(choices as usize, &tenant, &adapters)?;
        let turns: Vec<Turn> = request
            .own
            .messages
            .iter()
            .map(|message| Turn { role: message.role.clone(), content: message.text() })
            .collect();
        let messages: Vec<Message> = turns
            .iter()
            .map(|turn| Message::new(role(&turn.role), turn.content.as_str()))
            .collect();
        let prompt = self.text.chat_prompt(&messages)?;
        let tokens_max = self.text.tokens_max(request.tokens_max(), prompt.len(), "messages")?;
        let sampling = sampling(&request.options);
        sampling.check(self.text.engine.base().config().vocab_size)?;

        let terms = self
            .ledger
            .terms(model.manifest.model_id)
            .await
            .map_err(ApiError::chain_unavailable)?;
        let reserved = fee(terms.price, prompt.len() as u64, tokens_max as u64, terms.split)
            .map_err(|error| ApiError::invalid("max_tokens", error.to_string()))?;
        let too_dear =
            || ApiError::invalid("n", "The answers together cost more than there is OPEN.");
        let reserved = reserved.mul_div_down(u128::from(choices), 1).ok_or_else(too_dear)?;
        self.reserve(payer, reserved, terms.issued_at).await?;
        Ok(Question {
            heading: Heading {
                form: Form::Chat,
                id: format!("chatcmpl-{:032x}", random::u128()),
                created: terms.issued_at,
                model: model.manifest.name.clone(),
            },
            payer,
            turns,
            terms,
            asked: Asked {
                tenant,
                prompt: prompt.clone(),
                adapters,
                sampling,
                tokens_max,
                stops: request.options.stops(),
                logprobs: request.logprobs(),
                grammar: None,
                prefix_shared: false,
                cache_salt: request.options.cache_salt.as_deref().map(Into::into),
            },
            model,
            prompt,
            choices: choices as usize,
            reserved,
        })
    }

    /// Generates, attributes, signs, keeps, each choice with a receipt of its own. Sends pieces as they
    /// come; if nobody listens any more the generation stops, and what was produced is settled.
    pub(crate) async fn answer(&self, question: Question, pieces: mpsc::Sender<Piece>) {
        match self.text.begin(&question.asked, question.choices) {
            Ok(generations) => {
                let all = generations.into_iter().enumerate().map(|(index, generation)| {
                    let mut one = question.clone();
                    if index > 0 {
                        one.heading.id = format!("{}-{index}", question.heading.id);
                    }
                    self.answer_one(one, index, generation, &pieces)
                });
                join_all(all).await;
            }
            // Whoever asked may be gone.
            Err(error) => drop(pieces.send(Piece::Failed(error)).await),
        }
        self.reservations.lock().await.release(question.payer, question.reserved);
    }

    async fn answer_one(
        &self,
        question: Question,
        index: usize,
        generation: Generation,
        pieces: &mpsc::Sender<Piece>,
    ) {
        let last = match self.produce(generation, index, pieces).await {
            Ok(produced) => match self.account(question, index, produced).await {
                Ok(answer) => Piece::Done(Box::new(answer)),
                Err(error) => {
                    tracing::error!(%error, "an answer could not be attributed");
                    Piece::Failed(ApiError::internal(error))
                }
            },
            Err(error) => Piece::Failed(error),
        };
        // Nobody may be listening any more; the receipt is kept all the same.
        drop(pieces.send(last).await);
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
        mut generation: Generation,
        index: usize,
        pieces: &mpsc::Sender<Piece>,
    ) -> Result<Produced, ApiError> {
        while let Some(shown) = generation.next().await? {
            if pieces.send(Piece::Text(index, shown)).await.is_err() {
                break;
            }
        }
        let produced = generation.produced();
        if produced.tokens.is_empty() {
            return Err(ApiError::internal("the model produced nothing"));
        }
        Ok(produced)
    }

    /// Attribution, receipt, record: from here on the answer is owed.
    async fn account(
        &self,
        question: Question,
        index: usize,
        produced: Produced,
    ) -> Result<Answer, Error> {
        let prompt = if index == 0 { question.prompt.len() } else { 0 };
        let usage = Usage::new(prompt, produced.tokens.len());
        let attribution = Some(self.issue(&question, &produced).await?);
        let Produced { text, finish, logprobs, .. } = produced;
        Ok(Answer { choice: Choice { index, text, finish, logprobs }, usage, attribution })
    }
}

pub(crate) fn role(role: &str) -> Role {
    match role {
        "assistant" => Role::Assistant,
        "system" | "developer" => Role::System,
        _ => Role::User,
    }
}
