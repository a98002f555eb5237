//! The thread that generates: plans, runs the model, draws tokens, tells the askers.

use std::{
    collections::{BTreeMap, HashMap},
    mem, slice,
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc as async_mpsc, oneshot};

use crate::{
    AdapterId, Error, Event, FinishReason, Grammar, Sampler, Sampling, Token,
    drawing::{Drawing, Drawn, Scratches, draw_all},
    handle::{Checked, Command, Shared},
    loader_pool::{AdapterLoader, Arrival, LoaderPool},
    merging::Merging,
    metrics::Gauges,
    model::{Model, Step},
    prefix_cache::{Blend, Readers},
    scheduler::{Plan, Row, Scheduler},
    sequence::{Job, SequenceId},
    usage::Use,
};

mod adapters;

/// How long to wait before another look while no answer can go on.
const RECHECK: Duration = Duration::from_millis(20);

/// Bounds of what a refused asker is told to wait.
const RETRY_AFTER_MS: std::ops::RangeInclusive<u64> = 100..=60_000;

/// Weight of the newest interval in the mean interval between ends of answers.
const NEWEST: f64 = 0.05;

/// An answer on its way.
struct Open<W> {
    /// The copy of the base it is read with, from its first token to its last.
    merged: Option<Arc<W>>,
    events: async_mpsc::UnboundedSender<Event>,
    drawing: Drawing,
    left: usize,
    stop_tokens: Arc<[u32]>,
    tenant: Arc<str>,
    adapters: Vec<Arc<str>>,
    prompt_tokens: usize,
    /// Whether it still has its place in the queue.
    queued: bool,
    asked: Instant,
    last_token: Option<Instant>,
}

/// See the module.
pub(crate) struct ServingLoop<M, L>
where
    M: Model,
    L: AdapterLoader<Adapter = M::Adapter, Merged = M::Merged>,
{
    model: M,
    scheduler: Scheduler,
    loaders: LoaderPool,
    arrivals: Arc<Mutex<Vec<Arrival<M::Adapter>>>>,
    loader: Arc<L>,
    merging: Merging<L>,
    shared: Arc<Shared>,
    open: BTreeMap<SequenceId, Open<M::Merged>>,
    resident: HashMap<AdapterId, Arc<M::Adapter>>,
    scratches: Scratches,
    /// Adapters that were unregistered or replaced, while answers are promised them.
    unnamed: Vec<AdapterId>,
    /// Who wants to know that an adapter is pinned.
    pins: HashMap<AdapterId, Vec<oneshot::Sender<Result<(), Error>>>>,
    /// Mean time between ends of answers, in seconds.
    end_interval: Option<f64>,
    last_end: Instant,
    /// When idle memory is given back, and whether that was done since the last step.
    idle_after: Duration,
    gave_back: bool,
    stopping: bool,
}

impl<M, L> ServingLoop<M, L>
where
    M: Model,
    L: AdapterLoader<Adapter = M::Adapter, Merged = M::Merged>,
{
    pub(crate) fn new(
        model: M,
        scheduler: Scheduler,
        (loader, loaders): (Arc<L>, LoaderPool),
        arrivals: Arc<Mutex<Vec<Arrival<M::Adapter>>>>,
        merged_bytes: usize,
        idle_after: Duration,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            model,
            scheduler,
            loaders,
            arrivals,
            merging: Merging::new(merged_bytes, Arc::clone(&loader)),
            loader,
            shared,
            open: BTreeMap::new(),
            resident: HashMap::new(),
            scratches: Scratches::default(),
            unnamed: Vec::new(),
            pins: HashMap::new(),
            end_interval: None,
            last_end: Instant::now(),
            idle_after,
            gave_back: true,
            stopping: false,
        }
    }

    /// Runs until the last handle is gone and every answer has ended.
    pub(crate) fn run(mut self, commands: &mpsc::Receiver<Command>) {
        self.publish();
        let mut idle = true;
        loop {
            if idle {
                if self.stopping && self.open.is_empty() {
                    return;
                }
                if let Some(command) = self.wait(commands) {
                    self.obey(command);
                }
            }
            while let Ok(command) = commands.try_recv() {
                self.obey(command);
            }
            self.end_those_nobody_hears();
            self.let_unnamed_go();
            let plan = self.scheduler.plan();
            self.move_adapters(&plan);
            idle = plan.rows.is_empty();
            if !idle {
                self.step(&plan);
            }
            self.publish();
        }
    }

    /// The next command, or nothing when it is time to look again. Loads announce themselves; clients
    /// that leave do not.
    fn wait(&mut self, commands: &mpsc::Receiver<Command>) -> Option<Command> {
        if !self.open.is_empty() {
            return commands.recv_timeout(RECHECK).ok();
        }
        if !self.gave_back {
            match commands.recv_timeout(self.idle_after) {
                Ok(command) => return Some(command),
                Err(_) => self.give_back(),
            }
        }
        commands.recv().ok()
    }

    /// Nothing runs: what is cached is forgotten, and the memory of keys and values given back.
    fn give_back(&mut self) {
        self.merging.let_go(|_| true);
        let left = self.scheduler.memory_mut().forget_prefixes();
        self.model.give_back(left);
        self.gave_back = true;
        self.publish();
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Generate(checked) => self.submit(*checked),
            Command::Arrived => self.take_arrivals(),
            Command::Unnamed(id) => self.unnamed.push(id),
            Command::Pin(id, pinned, reply) => self.pin(id, pinned, reply),
            Command::Stop => self.stopping = true,
        }
        // What gave way to a load must be gone before anything arrives in its place.
        self.drop_evicted();
    }

    fn submit(&mut self, checked: Checked) {
        let Checked { request, blend, events, at } = checked;
        let names = self.learn_sizes(&blend);
        let blend: Blend = blend.into_iter().map(|(id, weight)| (id, weight.to_bits())).collect();
        let stop_tokens: Arc<[u32]> = request.stop_tokens.into();
        let readers = Readers {
            tenant: (!request.prefix_shared).then(|| Arc::clone(&request.tenant)),
            salt: request.cache_salt.clone(),
        };
        let merged = self.merging.copy_of(&blend);
        let mut leader = None;
        for (answer, events) in (0u64..).zip(events) {
            let job = Job {
                tenant: Arc::clone(&request.tenant),
                blend: Arc::clone(&blend),
                merged: merged.is_some(),
                readers: readers.clone(),
                prompt: request.prompt.clone(),
                tokens_max: request.tokens_max,
                leader,
            };
            let sampling = Sampling {
                seed: request.sampling.seed.wrapping_add(answer),
                ..request.sampling.clone()
            };
            let open = Open {
                merged: merged.clone(),
                events,
                drawing: Drawing {
                    sampler: Sampler::new(sampling, &request.prompt),
                    matcher: request.grammar.as_ref().map(Grammar::matcher),
                    logprobs: request.logprobs,
                },
                left: request.tokens_max,
                stop_tokens: Arc::clone(&stop_tokens),
                tenant: Arc::clone(&request.tenant),
                adapters: names.clone(),
                prompt_tokens: request.prompt.len(),
                queued: true,
                asked: at,
                last_token: None,
            };
            match self.scheduler.submit(job) {
                Ok(id) => {
                    leader = leader.or(Some(id));
                    self.open.insert(id, open);
                }
                Err((needed, there)) => self.fail(open, Error::Memory { needed, there }),
            }
        }
    }

    fn fail_sequence(&mut self, id: SequenceId, error: Error) {
        if let Some(open) = self.open.remove(&id) {
            self.fail(open, error);
        }
    }

    fn fail(&mut self, open: Open<M::Merged>, error: Error) {
        self.shared.metrics().failed += 1;
        self.shared.metrics().count(&open.tenant, &open.adapters, |all| all.failed += 1);
        self.close(&open);
        // The asker may have gone.
        drop(open.events.send(Event::Failed(error)));
    }

    /// What every end has in common.
    fn close(&self, open: &Open<M::Merged>) {
        if open.queued {
            self.shared.free_place();
        }
    }

    fn end_those_nobody_hears(&mut self) {
        let gone = |(_, open): &(&SequenceId, &Open<M::Merged>)| open.events.is_closed();
        let gone: Vec<SequenceId> = self.open.iter().filter(gone).map(|(id, _)| *id).collect();
        for id in gone {
            self.scheduler.end(id);
            if let Some(open) = self.open.remove(&id) {
                self.shared.metrics().cancelled += 1;
                let count = |all: &mut Use| all.cancelled += 1;
                self.shared.metrics().count(&open.tenant, &open.adapters, count);
                self.close(&open);
            }
        }
    }

    fn step(&mut self, plan: &Plan) {
        self.gave_back = false;
        let begun = Instant::now();
        let result = self.run_rows(&plan.rows);
        let ended = Instant::now();
        {
            let mut metrics = self.shared.metrics();
            metrics.step.observe((ended - begun).as_secs_f64());
            metrics.step_rows.observe(plan.rows.len() as f64);
        }
        let ran: Vec<Row> = plan
            .rows
            .iter()
            .zip(&result)
            .filter(|(_, r)| r.is_ok())
            .map(|(row, _)| row.clone())
            .collect();
        self.scheduler.ran(&ran);
        self.count_step(&ran);
        let mut drawn = self.draw(&plan.rows, &result);
        for (row, result) in plan.rows.iter().zip(result) {
            match result {
                Ok(_) => {
                    self.begun(row, begun);
                    if let Some(drawn) = drawn.remove(&row.sequence) {
                        self.advance(row.sequence, drawn, ended);
                    }
                }
                Err(error) => {
                    tracing::error!(error, "a sequence could not be run");
                    self.scheduler.end(row.sequence);
                    self.fail_sequence(row.sequence, Error::Model(error));
                }
            }
        }
    }

    /// Counts what the step was for, so that a blend that has nearly all steps for itself is merged.
    fn count_step(&mut self, rows: &[Row]) {
        let blend = |row| self.scheduler.row(row).3.blend();
        let alone = rows.first().map(blend);
        let alone = alone.filter(|alone| rows.iter().all(|row| blend(row) == *alone));
        let resident = &self.resident;
        self.merging.count(alone, |blend| {
            let adapter = |(id, weight): &(AdapterId, u32)| {
                Some((Arc::clone(resident.get(id)?), f32::from_bits(*weight)))
            };
            blend.iter().map(adapter).collect()
        });
    }

    /// One step over all rows. If the model refuses it, each row alone, so that the one at fault harms no
    /// other: a step that is refused has written nothing.
    fn run_rows(&mut self, rows: &[Row]) -> Vec<Result<Option<Vec<f32>>, String>> {
        match self.run_model(rows) {
            Ok(all) => all.into_iter().map(Ok).collect(),
            Err(error) if rows.len() == 1 => vec![Err(error)],
            Err(_) => rows.iter().flat_map(|row| self.run_rows(slice::from_ref(row))).collect(),
        }
    }

    fn run_model(&mut self, rows: &[Row]) -> Result<Vec<Option<Vec<f32>>>, String> {
        let parts: Vec<_> = rows.iter().map(|row| self.scheduler.row(row)).collect();
        let adapter = |(id, weight): &(AdapterId, u32)| {
            let adapter = self.resident.get(id).expect("what is planned has its adapters");
            (Arc::clone(adapter), f32::from_bits(*weight))
        };
        let merged = |row: &Row| self.open[&row.sequence].merged.as_ref();
        let blends: Vec<Vec<(Arc<M::Adapter>, f32)>> = parts
            .iter()
            .zip(rows)
            .map(|((_, _, _, sequence), row)| match merged(row) {
                Some(_) => vec![],
                None => sequence.blend().iter().map(adapter).collect(),
            })
            .collect();
        let batch: Vec<Step<'_, M::Adapter, M::Merged>> = parts
            .iter()
            .zip(rows)
            .zip(&blends)
            .map(|(((tokens, before, pages, _), row), adapters)| Step {
                tokens,
                before: *before,
                pages,
                adapters,
                merged: merged(row),
                logits_wanted: row.logits_wanted,
            })
            .collect();
        self.model.step(&batch)
    }

    /// Frees the place in the queue of a sequence that is read for the first time.
    fn begun(&mut self, row: &Row, now: Instant) {
        let open = self.open.get_mut(&row.sequence).expect("what runs is open");
        let mut metrics = self.shared.metrics();
        if mem::take(&mut open.queued) {
            self.shared.free_place();
            let prompt_tokens = open.prompt_tokens as u64;
            let waited = (now - open.asked).as_secs_f64();
            metrics.queue_time.observe(waited);
            metrics.count(&open.tenant, &open.adapters, |all| {
                all.answers += 1;
                all.prompt_tokens += prompt_tokens;
                all.queue_time.observe(waited);
            });
        }
        if open.last_token.is_none() {
            metrics.prompt_tokens += row.tokens.len() as u64;
        }
    }

    /// Draws the next tokens of all answers whose logits came.
    fn draw(
        &mut self,
        rows: &[Row],
        results: &[Result<Option<Vec<f32>>, String>],
    ) -> HashMap<SequenceId, Result<Drawn, String>> {
        let mut logits: HashMap<SequenceId, &[f32]> = HashMap::new();
        for (row, result) in rows.iter().zip(results) {
            if let Ok(Some(of_row)) = result {
                logits.insert(row.sequence, of_row);
            }
        }
        let (mut ids, mut rows) = (Vec::new(), Vec::new());
        for (id, open) in &mut self.open {
            if let Some(logits) = logits.get(id) {
                ids.push(*id);
                rows.push((&mut open.drawing, *logits));
            }
        }
        ids.into_iter().zip(draw_all(&self.scratches, rows)).collect()
    }

    /// Tells the next token of an answer, and ends it or lets it go on.
    fn advance(&mut self, id: SequenceId, drawn: Result<Drawn, String>, now: Instant) {
        let open = self.open.get_mut(&id).expect("what runs is open");
        let Drawn { token, logprobs, whole } = match drawn {
            Ok(drawn) => drawn,
            Err(why) => {
                self.scheduler.end(id);
                let error = Error::Invalid { field: "response_format", why };
                return self.fail_sequence(id, error);
            }
        };
        open.left -= 1;
        {
            let mut metrics = self.shared.metrics();
            metrics.answer_tokens += 1;
            let last = open.last_token.replace(now);
            let seconds = (now - last.unwrap_or(open.asked)).as_secs_f64();
            match last {
                None => metrics.time_to_first_token.observe(seconds),
                Some(_) => metrics.inter_token.observe(seconds),
            }
            metrics.count(&open.tenant, &open.adapters, |all| {
                all.answer_tokens += 1;
                match last {
                    None => all.time_to_first_token.observe(seconds),
                    Some(_) => all.answer_seconds += seconds,
                }
            });
        }
        // A receiver that is gone is noticed before the next step.
        drop(open.events.send(Event::Token(Token { id: token, logprobs })));
        let finished = match (whole || open.stop_tokens.contains(&token), open.left) {
            (true, _) => FinishReason::Stop,
            (false, 0) => FinishReason::Length,
            _ => return self.scheduler.push(id, token),
        };
        // Told last, so that who hears of the end finds it counted and the memory free.
        self.scheduler.end(id);
        self.shared.metrics().finished += 1;
        self.ended(now);
        self.publish();
        if let Some(open) = self.open.remove(&id) {
            drop(open.events.send(Event::Finished(finished)));
        }
    }

    /// Estimates when half of what waits will have begun.
    fn ended(&mut self, now: Instant) {
        let interval = (now - mem::replace(&mut self.last_end, now)).as_secs_f64();
        let mean = self.end_interval.map_or(interval, |mean| mean + NEWEST * (interval - mean));
        self.end_interval = Some(mean);
        let wait = mean * 1000.0 * self.scheduler.waiting().div_ceil(2) as f64;
        self.shared
            .set_retry_after((wait as u64).clamp(*RETRY_AFTER_MS.start(), *RETRY_AFTER_MS.end()));
    }

    fn publish(&self) {
        let memory = self.scheduler.memory();
        let (pool, adapters) = (memory.pool(), memory.adapters());
        let mut metrics = self.shared.metrics();
        metrics.preemptions = self.scheduler.preemptions();
        metrics.prompt_tokens_cached = self.scheduler.prompt_tokens_cached();
        metrics.adapter_evictions = adapters.evictions();
        metrics.merged_copies = self.merging.made();
        metrics.gauges = Gauges {
            waiting: self.scheduler.waiting(),
            running: self.scheduler.running(),
            pages: pool.budget(),
            pages_running: pool.in_use() - memory.prefixes().idle_pages(),
            pages_cached: memory.prefixes().idle_pages(),
            pages_adapters: pool.charged(),
            pages_pinned: adapters.pinned_pages(),
            pages_taken: self.model.pages_taken(),
            pages_available: memory.available(),
            page_bytes: self.model.page_bytes(),
            adapters_registered: 0,
            adapters_resident: adapters.loaded(),
            adapters_loading: adapters.loading(),
            merged_bytes: self.merging.bytes(),
        };
    }
}
