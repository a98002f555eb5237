use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use openledger_model::{Adapter, Decoder, KvCache, ScoreRequest as ModelScoreRequest, Slice};
use tokio::sync::{mpsc, oneshot};

use crate::{
    AdapterHash, Error, Event, FinishReason, GenerateRequest, Sampler, ScoreRequest,
    adapter_store::AdapterStore,
};

/// How an engine is run.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Requests that wait for a place in the batch; one more is refused.
    pub queue_max: usize,
    /// Answers generated at the same time.
    pub batch_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { queue_max: 256, batch_max: 32 }
    }
}

/// Starts engines.
#[derive(Debug)]
pub struct Engine;

/// A running engine; cheap to clone. It stops when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct Handle {
    base: Arc<Decoder>,
    adapters: Arc<AdapterStore>,
    queue: mpsc::Sender<Admitted>,
    scores: mpsc::Sender<Scoring>,
}

/// A request with its adapter found and its length checked.
struct Admitted {
    request: GenerateRequest,
    adapter: Option<Arc<Adapter>>,
    events: mpsc::UnboundedSender<Event>,
}

/// A scoring request and where its likelihoods go.
struct Scoring {
    request: ScoreRequest,
    adapters: Vec<Option<Arc<Adapter>>>,
    reply: oneshot::Sender<Result<Vec<Vec<i64>>, Error>>,
}

impl Engine {
    /// Starts an engine over `base`: one thread generates, another scores, so that attribution never
    /// delays a token of somebody else's answer by more than its share of the cores.
    pub fn start(base: Arc<Decoder>, config: Config) -> Handle {
        let (queue, requests) = mpsc::channel(config.queue_max);
        let (scores, scoring) = mpsc::channel(config.queue_max);
        let handle = Handle { base: Arc::clone(&base), adapters: Arc::default(), queue, scores };
        let generating = Arc::clone(&base);
        spawn("openlora-generate", move || generate(&generating, requests, config.batch_max));
        spawn("openlora-score", move || score(&base, scoring));
        handle
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::Builder::new().name(name.to_owned()).spawn(run).expect("the system starts threads")
}

impl Handle {
    /// The base.
    pub fn base(&self) -> &Arc<Decoder> {
        &self.base
    }

    /// Makes an adapter callable by its hash.
    pub fn register(&self, adapter: Adapter) -> AdapterHash {
        self.adapters.register(adapter)
    }

    /// Begins an answer. Errors: [`Error::Overloaded`], [`Error::UnknownAdapter`], [`Error::Length`].
    pub fn generate(
        &self,
        request: GenerateRequest,
    ) -> Result<mpsc::UnboundedReceiver<Event>, Error> {
        self.check_length(request.prompt.len(), request.tokens_max)?;
        let adapter = self.adapters.get(request.adapter)?;
        // Unbounded, but never longer than `tokens_max`.
        let (events, receiver) = mpsc::unbounded_channel();
        match self.queue.try_send(Admitted { request, adapter, events }) {
            Ok(()) => Ok(receiver),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Error::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Error::Stopped),
        }
    }

    /// Log-likelihood of each answer token under each adapter, in units of 2⁻²⁰ nat: one row per entry
    /// of `adapters`. Exact: the same bits on every machine and beside any other work.
    pub async fn score(&self, request: ScoreRequest) -> Result<Vec<Vec<i64>>, Error> {
        self.check_length(request.prompt.len(), request.answer.len())?;
        let adapters = request
            .adapters
            .iter()
            .map(|hash| self.adapters.get(*hash))
            .collect::<Result<_, _>>()?;
        let (reply, likelihoods) = oneshot::channel();
        // An answer that was given must be scored, so this waits for a place instead of failing.
        let scoring = Scoring { request, adapters, reply };
        self.scores.send(scoring).await.map_err(|_| Error::Stopped)?;
        likelihoods.await.map_err(|_| Error::Stopped)?
    }

    fn check_length(&self, prompt: usize, answer: usize) -> Result<(), Error> {
        let (tokens, max) = (prompt + answer, self.base.config().max_position_embeddings);
        let fits = prompt > 0 && answer > 0 && tokens <= max;
        if fits { Ok(()) } else { Err(Error::Length { tokens, max }) }
    }
}

/// One answer in the batch.
struct Row {
    /// Tokens the model has not seen yet: the prompt at first, then the last token.
    unseen: Vec<u32>,
    cache: KvCache,
    adapter: Option<Arc<Adapter>>,
    sampler: Sampler,
    left: usize,
    stop_token: u32,
    events: mpsc::UnboundedSender<Event>,
}

impl Row {
    fn new(base: &Decoder, admitted: Admitted) -> Self {
        let Admitted { request, adapter, events } = admitted;
        let tokens_max = request.prompt.len() + request.tokens_max;
        Self {
            unseen: request.prompt,
            cache: KvCache::new(base.config(), tokens_max),
            adapter,
            sampler: Sampler::new(request.sampling),
            left: request.tokens_max,
            stop_token: request.stop_token,
            events,
        }
    }

    /// Takes the next token from the logits. Returns whether the answer goes on.
    fn advance(&mut self, logits: &[f32]) -> bool {
        let token = self.sampler.next(logits);
        self.unseen.clear();
        self.unseen.push(token);
        self.left -= 1;
        let listened = self.events.send(Event::Token(token)).is_ok();
        let finished = match (token == self.stop_token, self.left) {
            (true, _) => Some(FinishReason::Stop),
            (false, 0) => Some(FinishReason::Length),
            _ => None,
        };
        if let Some(reason) = finished {
            // A receiver that is gone has no use for the reason.
            drop(self.events.send(Event::Finished(reason)));
        }
        listened && finished.is_none()
    }
}

/// Continuous batching: rows join and leave between steps; each step gives every row one token.
fn generate(base: &Decoder, mut requests: mpsc::Receiver<Admitted>, batch_max: usize) {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        if rows.is_empty() {
            match requests.blocking_recv() {
                Some(admitted) => rows.push(Row::new(base, admitted)),
                None => return,
            }
        }
        while rows.len() < batch_max
            && let Ok(admitted) = requests.try_recv()
        {
            rows.push(Row::new(base, admitted));
        }
        rows.retain(|row| !row.events.is_closed());
        // Rows of one adapter side by side become one product.
        rows.sort_by_key(|row| row.adapter.as_ref().map(|adapter| Arc::as_ptr(adapter) as usize));
        let mut slices: Vec<Slice<'_>> = rows
            .iter_mut()
            .map(|row| Slice {
                tokens: &row.unseen,
                cache: &mut row.cache,
                adapter: row.adapter.as_deref(),
            })
            .collect();
        if slices.is_empty() {
            continue;
        }
        match base.step(&mut slices) {
            Ok(logits) => {
                let mut logits = logits.iter();
                rows.retain_mut(|row| logits.next().is_some_and(|logits| row.advance(logits)));
            }
            Err(error) => {
                for row in rows.drain(..) {
                    drop(row.events.send(Event::Failed(error.to_string())));
                }
            }
        }
    }
}

fn score(base: &Decoder, mut scoring: mpsc::Receiver<Scoring>) {
    while let Some(Scoring { request, adapters, reply }) = scoring.blocking_recv() {
        let tokens = [request.prompt.as_slice(), &request.answer].concat();
        let requests: Vec<ModelScoreRequest<'_>> = adapters
            .iter()
            .map(|adapter| ModelScoreRequest {
                tokens: &tokens,
                answer_start: request.prompt.len(),
                adapter: adapter.as_deref(),
            })
            .collect();
        let outcome =
            base.log_likelihoods(&requests).map_err(|error| Error::Model(error.to_string()));
        // The asker may have gone.
        drop(reply.send(outcome));
    }
}
