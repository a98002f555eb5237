use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use openledger_model::{Adapter, Decoder, serving::BLEND_MAX};
use tokio::sync::{mpsc as async_mpsc, oneshot};

use crate::{
    AdapterHash, AdapterId, AdapterRef, Error, Event, GenerateRequest, Metrics, ScoreRequest,
    adapter_catalog::{AdapterCatalog, AdapterInfo},
    pages::pages_of,
    scoring_loop::Scoring,
    token_logprobs::TOP_LOGPROBS_MAX,
};

/// Most answers to one prompt in one request.
pub const ANSWERS_MAX: usize = 128;

/// Waiting time that is told before any answer has ended.
const RETRY_AFTER_MS_DEFAULT: u64 = 1000;

/// A running engine; cheap to clone. It stops when the last handle is dropped and the answers under way
/// have ended.
#[derive(Debug, Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) base: Arc<Decoder>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) inbox: mpsc::Sender<Command>,
    pub(crate) scores: async_mpsc::Sender<Scoring>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // It may have stopped by itself.
        drop(self.inbox.send(Command::Stop));
    }
}

/// What handles and the generating thread both see.
#[derive(Debug)]
pub(crate) struct Shared {
    catalog: RwLock<AdapterCatalog>,
    metrics: Mutex<Metrics>,
    /// Sequences that have not begun.
    queued: AtomicUsize,
    queue_max: usize,
    retry_after_ms: AtomicU64,
    started: Instant,
    vocabulary: usize,
    context: usize,
}

/// What the generating thread is told.
#[derive(Debug)]
pub(crate) enum Command {
    Generate(Box<Checked>),
    /// An adapter has been read, or could not be.
    Arrived,
    /// An adapter cannot be named any more: unregistered, or another one has its name. Answers that were promised
    /// it are still given.
    Unnamed(AdapterId),
    Pin(AdapterId, bool, oneshot::Sender<Result<(), Error>>),
    Stop,
}

/// A request whose adapters are known and whose numbers are in range.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) request: GenerateRequest,
    pub(crate) blend: Vec<(AdapterId, f32)>,
    /// One for each answer.
    pub(crate) events: Vec<async_mpsc::UnboundedSender<Event>>,
    pub(crate) at: Instant,
}

impl Shared {
    pub(crate) fn new(queue_max: usize, vocabulary: usize, context: usize) -> Self {
        Self {
            catalog: RwLock::default(),
            metrics: Mutex::default(),
            queued: AtomicUsize::new(0),
            queue_max,
            retry_after_ms: AtomicU64::new(RETRY_AFTER_MS_DEFAULT),
            started: Instant::now(),
            vocabulary,
            context,
        }
    }

    pub(crate) fn catalog(&self) -> RwLockReadGuard<'_, AdapterCatalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn catalog_mut(&self) -> RwLockWriteGuard<'_, AdapterCatalog> {
        self.catalog.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn metrics(&self) -> MutexGuard<'_, Metrics> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the engine was started.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Takes `n` places in the queue. Errors: [`Error::Overloaded`].
    fn take_places(
        &self,
        catalog: &AdapterCatalog,
        n: usize,
        tenant: &Arc<str>,
        blend: &[(AdapterId, f32)],
    ) -> Result<(), Error> {
        let take = |queued: usize| (queued + n <= self.queue_max).then_some(queued + n);
        let taken = self.queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map(drop).map_err(|_| self.refusal(tenant, &catalog.names(blend)))
    }

    /// Counts a request that is refused for want of places.
    fn refusal(&self, tenant: &Arc<str>, adapters: &[Arc<str>]) -> Error {
        let mut metrics = self.metrics();
        metrics.refused += 1;
        metrics.count(tenant, adapters, |all| all.refused += 1);
        Error::Overloaded { retry_after_ms: self.retry_after_ms.load(Ordering::Relaxed) }
    }

    /// A sequence has begun, or left before it did.
    pub(crate) fn free_place(&self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn set_retry_after(&self, retry_after_ms: u64) {
        self.retry_after_ms.store(retry_after_ms, Ordering::Relaxed);
    }
}

/// How much the engine can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Memory for keys, values and adapters together.
    pub memory_bytes: usize,
    /// Of it, taken by adapters in memory.
    pub adapter_bytes: usize,
    /// Of it, taken by answers under way.
    pub running_bytes: usize,
    /// Of it, free or at once available: cached prefixes and idle adapters give way.
    pub available_bytes: usize,
    /// Keys and values of one token.
    pub token_bytes: usize,
    /// Adapters that can be named.
    pub adapters_registered: usize,
    /// Adapters in memory.
    pub adapters_resident: usize,
    /// Mean size of the adapters in memory.
    pub adapter_bytes_mean: Option<usize>,
    /// Adapters of that size that fit beside the answers under way.
    pub adapters_resident_max: Option<usize>,
    /// Sequences of the longest kind that fit beside the adapters in memory.
    pub longest_sequences_max: usize,
}

impl Handle {
    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// The base in its exact form.
    pub fn base(&self) -> &Arc<Decoder> {
        &self.inner.base
    }

    /// Makes an adapter that is in memory callable by its hash. It stays in memory until it is
    /// unregistered.
    pub fn register(&self, adapter: Adapter) -> AdapterHash {
        let hash = AdapterHash(adapter.hash());
        self.inner.shared.catalog_mut().register(Arc::new(adapter));
        hash
    }

    /// Makes the adapter of a PEFT folder, or of a packed file, callable by `name`; it is read when it is
    /// first asked for.
    ///
    /// Errors: [`Error::NameTaken`], [`Error::Invalid`] if there is no adapter.
    pub fn register_folder(&self, name: &str, path: &Path) -> Result<(), Error> {
        self.inner.shared.catalog_mut().register_folder(name, path).map(drop)
    }

    /// As [`Self::register_folder`], but an adapter that has the name already gives way: requests from now on
    /// get the new one, those that were taken before get the old one to their end. The new one is not pinned.
    pub fn replace_folder(&self, name: &str, path: &Path) -> Result<(), Error> {
        let (_, old) = self.inner.shared.catalog_mut().replace_folder(name, path)?;
        old.map_or(Ok(()), |old| self.tell(Command::Unnamed(old)))
    }

    /// Makes every PEFT folder in `folder`, and every packed file `<name>.adapter`, callable by its name.
    /// Returns how many are new.
    pub fn register_all(&self, folder: &Path) -> std::io::Result<usize> {
        self.inner.shared.catalog_mut().scan(folder)
    }

    /// Forgets an adapter. Answers that use it are finished; its memory is freed after them.
    ///
    /// Errors: [`Error::UnknownAdapter`].
    pub fn unregister(&self, adapter: &AdapterRef) -> Result<(), Error> {
        let id = self.inner.shared.catalog_mut().unregister(adapter)?;
        self.tell(Command::Unnamed(id))
    }

    /// Loads an adapter and keeps it in memory, or (`pinned` false) lets it be evicted again.
    ///
    /// Errors: [`Error::UnknownAdapter`], [`Error::BrokenAdapter`], [`Error::Memory`] if the longest
    /// sequence would not fit beside what is pinned.
    pub async fn pin(&self, adapter: &AdapterRef, pinned: bool) -> Result<(), Error> {
        let id = self.inner.shared.catalog().find(adapter)?;
        let (reply, done) = oneshot::channel();
        self.tell(Command::Pin(id, pinned, reply))?;
        done.await.map_err(|_| Error::Stopped)?
    }

    /// What is known of an adapter. Errors: [`Error::UnknownAdapter`].
    pub fn adapter(&self, adapter: &AdapterRef) -> Result<AdapterInfo, Error> {
        let catalog = self.inner.shared.catalog();
        let info = catalog.info(catalog.find(adapter)?);
        info.ok_or_else(|| Error::UnknownAdapter(adapter.clone()))
    }

    /// Registered adapters in the order of their registration: at most `limit` after the first `skip`.
    pub fn adapters(&self, skip: usize, limit: usize) -> Vec<AdapterInfo> {
        self.inner.shared.catalog().list(skip, limit)
    }

    /// How much the engine can hold, as of the last step.
    pub fn capacity(&self) -> Capacity {
        let gauges = self.inner.shared.metrics().gauges;
        let bytes = |pages: usize| pages * gauges.page_bytes;
        let mean = gauges.pages_adapters.checked_div(gauges.adapters_resident);
        let beside_running = gauges.pages.saturating_sub(gauges.pages_running);
        let beside_adapters = gauges.pages.saturating_sub(gauges.pages_adapters);
        Capacity {
            memory_bytes: bytes(gauges.pages),
            adapter_bytes: bytes(gauges.pages_adapters),
            running_bytes: bytes(gauges.pages_running),
            available_bytes: bytes(gauges.pages_available),
            token_bytes: gauges.page_bytes / crate::PAGE_TOKENS,
            adapters_registered: self.inner.shared.catalog().len(),
            adapters_resident: gauges.adapters_resident,
            adapter_bytes_mean: mean.map(bytes),
            adapters_resident_max: mean.map(|mean| beside_running / mean.max(1)),
            longest_sequences_max: beside_adapters / pages_of(self.inner.shared.context),
        }
    }

    /// What the engine has done, as of the last step.
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.inner.shared.metrics().clone();
        let catalog = self.inner.shared.catalog();
        metrics.gauges.adapters_registered = catalog.len();
        let known = |name: &str| {
            let id = catalog.find(&AdapterRef::Name(name.into())).ok()?;
            catalog.info(id)
        };
        metrics.with_residency(known)
    }

    /// Begins an answer.
    ///
    /// Errors: [`Error::Overloaded`], [`Error::UnknownAdapter`], [`Error::BrokenAdapter`],
    /// [`Error::Length`], [`Error::Invalid`].
    pub fn generate(
        &self,
        request: GenerateRequest,
    ) -> Result<async_mpsc::UnboundedReceiver<Event>, Error> {
        Ok(self.generate_all(request, 1)?.remove(0))
    }

    /// Begins `n` answers to one prompt. They share the pages of the prompt and are otherwise independent;
    /// answer `i` is the one that a request with `seed + i` gets.
    pub fn generate_all(
        &self,
        request: GenerateRequest,
        n: usize,
    ) -> Result<Vec<async_mpsc::UnboundedReceiver<Event>>, Error> {
        // Held until the request is on its way: what it names is not forgotten before it is there.
        let catalog = self.inner.shared.catalog();
        let blend = self.check(&catalog, &request, n)?;
        self.inner.shared.take_places(&catalog, n, &request.tenant, &blend)?;
        // Unbounded, but never longer than `tokens_max`.
        let (events, receivers) = (0..n).map(|_| async_mpsc::unbounded_channel()).unzip();
        let checked = Checked { request, blend, events, at: Instant::now() };
        if let Err(stopped) = self.tell(Command::Generate(Box::new(checked))) {
            (0..n).for_each(|_| self.inner.shared.free_place());
            return Err(stopped);
        }
        Ok(receivers)
    }

    /// Refuses `n` answers that there are no places for now, so that nobody makes a prompt ready for them. Counts
    /// as the refusal that [`Self::generate_all`] would have given. Takes no place: what passes here may still be
    /// refused there.
    ///
    /// Errors: [`Error::Overloaded`].
    pub fn expect_places(
        &self,
        n: usize,
        tenant: &Arc<str>,
        adapters: &[(AdapterRef, f32)],
    ) -> Result<(), Error> {
        let shared = &self.inner.shared;
        if shared.queued.load(Ordering::Relaxed).saturating_add(n) <= shared.queue_max {
            return Ok(());
        }
        let catalog = shared.catalog();
        // What is not known would be refused for that; it is in nobody's numbers.
        let known = adapters
            .iter()
            .filter_map(|(adapter, weight)| catalog.find(adapter).ok().map(|id| (id, *weight)));
        let blend: Vec<(AdapterId, f32)> = known.collect();
        Err(shared.refusal(tenant, &catalog.names(&blend)))
    }

    fn check(
        &self,
        catalog: &AdapterCatalog,
        request: &GenerateRequest,
        n: usize,
    ) -> Result<Vec<(AdapterId, f32)>, Error> {
        let invalid = |field, why| Err(Error::Invalid { field, why });
        let shared = &self.inner.shared;
        if n == 0 || n > ANSWERS_MAX {
            return invalid("n", format!("{n} answers; 1 to {ANSWERS_MAX} are given"));
        }
        self.check_length(request.prompt.len(), request.tokens_max)?;
        if let Some(token) = request.prompt.iter().find(|t| **t as usize >= shared.vocabulary) {
            return invalid("prompt", format!("token {token} is outside the vocabulary"));
        }
        if request.logprobs.is_some_and(|top| top > TOP_LOGPROBS_MAX) {
            return invalid("top_logprobs", format!("at most {TOP_LOGPROBS_MAX} are given"));
        }
        request.sampling.check(shared.vocabulary)?;
        if let Some(grammar) = &request.grammar
            && grammar.vocabulary() > shared.vocabulary
        {
            let (tokens, known) = (grammar.vocabulary(), shared.vocabulary);
            let why = format!("its tokenizer has {tokens} tokens, the model knows {known}");
            return invalid("response_format", why);
        }
        if request.adapters.len() > BLEND_MAX {
            let all = request.adapters.len();
            return invalid("adapters", format!("a blend of {all}, at most {BLEND_MAX} are run"));
        }
        let now = shared.now();
        let mut blend: Vec<(AdapterId, f32)> = Vec::with_capacity(request.adapters.len());
        for (adapter, weight) in &request.adapters {
            let id = catalog.find(adapter)?;
            catalog.check(id, now)?;
            if !weight.is_finite() {
                return invalid("adapters", format!("the weight of {adapter} is {weight}"));
            }
            if blend.iter().any(|(other, _)| *other == id) {
                return invalid("adapters", format!("{adapter} is named twice"));
            }
            blend.push((id, *weight));
        }
        Ok(blend)
    }

    /// Log-likelihood of each answer token under each adapter, in units of 2⁻²⁰ nat: one row per entry
    /// of `adapters`. Exact: the same bits on every machine and beside any other work.
    pub async fn score(&self, request: ScoreRequest) -> Result<Vec<Vec<i64>>, Error> {
        self.check_length(request.prompt.len(), request.answer.len())?;
        let sources = {
            let catalog = self.inner.shared.catalog();
            let source = |hash: &Option<AdapterHash>| {
                let Some(hash) = hash else { return Ok(None) };
                let adapter = AdapterRef::Hash(*hash);
                let source = catalog.source(catalog.find(&adapter)?);
                source.map(|(source, _)| Some(source)).ok_or(Error::UnknownAdapter(adapter))
            };
            request.adapters.iter().map(source).collect::<Result<_, _>>()?
        };
        let (reply, likelihoods) = oneshot::channel();
        // An answer that was given must be scored, so this waits for a place instead of failing.
        let scoring = Scoring { request, sources, reply };
        self.inner.scores.send(scoring).await.map_err(|_| Error::Stopped)?;
        likelihoods.await.map_err(|_| Error::Stopped)?
    }

    fn check_length(&self, prompt: usize, answer: usize) -> Result<(), Error> {
        let (tokens, max) = (prompt.saturating_add(answer), self.inner.shared.context);
        let fits = prompt > 0 && answer > 0 && tokens <= max;
        if fits { Ok(()) } else { Err(Error::Length { tokens, max }) }
    }

    fn tell(&self, command: Command) -> Result<(), Error> {
        self.inner.inbox.send(command).map_err(|_| Error::Stopped)
    }
}
