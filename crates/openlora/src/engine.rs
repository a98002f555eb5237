use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use openledger_model::{
    Decoder,
    serving::{LowRankForm, ServingDecoder},
};
use openledger_tensor::with_threads;
use tokio::sync::mpsc as async_mpsc;

use crate::{
    Error, Handle,
    handle::{Command, Inner, Shared},
    loader_pool::{AdapterLoader, LoaderPool},
    memory::Memory,
    model::Model,
    pages::pages_of,
    scheduler::{Limits, Scheduler},
    scoring_loop,
    serving_loop::ServingLoop,
    serving_model::{ServingLoader, ServingModel},
};

/// How an engine is run.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Memory for keys, values and adapters together.
    pub memory_bytes: usize,
    /// Memory, beside that, for a copy of the base with a blend merged in while nearly all steps are for that
    /// blend alone; 0 makes none. Answers of such a copy are rounded otherwise: the same request may then be answered
    /// in other words, depending on what was asked before it.
    pub merged_bytes: usize,
    /// How adapters are kept in memory that do not come packed: bf16 loses nothing, int8 takes half.
    pub adapter_form: LowRankForm,
    /// Answers that wait for a place in the batch; one more is refused.
    pub queue_max: usize,
    /// Answers generated at the same time.
    pub batch_max: usize,
    /// Tokens that one step reads at most, those of prompts included. More reads prompts faster, less
    /// delays the other answers less.
    pub step_tokens_max: usize,
    /// Threads that read adapters.
    pub loader_threads: usize,
    /// Time without an answer under way after which cached prompts are forgotten and the memory of keys and
    /// values is given back to the system.
    pub idle_after: Duration,
    /// Threads that generate; as many as there are cores by default. Answers are the same for any number.
    pub threads: Option<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            memory_bytes: 512 << 20,
            merged_bytes: 0,
            adapter_form: LowRankForm::Bf16,
            queue_max: 256,
            batch_max: 32,
            step_tokens_max: 256,
            loader_threads: 2,
            idle_after: Duration::from_secs(60),
            threads: None,
        }
    }
}

/// Starts engines.
#[derive(Debug)]
pub struct Engine;

impl Engine {
    /// Starts an engine: `serving` generates, `base`, the same model in its exact form, scores.
    ///
    /// Errors: as [`Self::start_with`].
    pub fn start(
        base: Arc<Decoder>,
        serving: ServingDecoder,
        config: Config,
    ) -> Result<Handle, Error> {
        let serving = Arc::new(serving);
        let model = ServingModel::new(Arc::clone(&serving), config.memory_bytes);
        let loader =
            ServingLoader::new(Arc::clone(&base), config.adapter_form).merging_into(serving);
        Self::start_with(base, model, loader, config)
    }

    /// As [`Self::start`], with any model and any reader of adapters. One thread generates, another
    /// scores, so that attribution never delays a token of somebody else's answer by more than its share
    /// of the cores; others read adapters.
    ///
    /// Errors: [`Error::Memory`] if the longest sequence does not fit; [`Error::Invalid`].
    pub fn start_with<M, L>(
        base: Arc<Decoder>,
        model: M,
        loader: L,
        config: Config,
    ) -> Result<Handle, Error>
    where
        M: Model,
        L: AdapterLoader<Adapter = M::Adapter, Merged = M::Merged>,
    {
        let (needed, there) = (pages_of(model.context()), model.pages());
        if there < needed {
            return Err(Error::Memory { needed, there });
        }
        for (field, value) in [
            ("batch_max", config.batch_max),
            ("step_tokens_max", config.step_tokens_max / config.batch_max.max(1)),
            ("loader_threads", config.loader_threads),
        ] {
            if value == 0 {
                let why = "must be at least 1; step_tokens_max at least batch_max".to_owned();
                return Err(Error::Invalid { field, why });
            }
        }
        let shared = Arc::new(Shared::new(config.queue_max, model.vocabulary(), model.context()));
        let (inbox, commands) = mpsc::channel();
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let loader = Arc::new(loader);
        let loaders = LoaderPool::start(&loader, config.loader_threads, {
            let (arrivals, inbox) = (Arc::clone(&arrivals), inbox.clone());
            move |arrival| {
                arrivals.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(arrival);
                // The engine may have stopped meanwhile.
                drop(inbox.send(Command::Arrived));
            }
        });
        let limits = Limits {
            batch_max: config.batch_max,
            step_tokens_max: config.step_tokens_max,
            loads_max: 4 * config.loader_threads,
            longest: model.context(),
        };
        let scheduler = Scheduler::new(limits, Memory::new(model.pages()));
        let serving = ServingLoop::new(
            model,
            scheduler,
            (loader, loaders),
            arrivals,
            config.merged_bytes,
            config.idle_after,
            Arc::clone(&shared),
        );
        spawn("openlora-generate", move || match config.threads {
            Some(threads) => with_threads(threads, move || serving.run(&commands)),
            None => serving.run(&commands),
        });
        let (scores, scoring) = async_mpsc::channel(config.queue_max.max(1));
        let scored = Arc::clone(&base);
        spawn("openlora-score", move || scoring_loop::run(&scored, scoring));
        Ok(Handle::new(Inner { base, shared, inbox, scores }))
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(run).expect("the system starts threads");
}

#[cfg(test)]
mod tests;
