//! Training of all counterfactual adapters of a design, several at a time.
//!
//! A run on one thread wastes nothing on waiting for others, so runs are spread over threads rather than
//! each run being split. Every result is the same to the bit as that of [`train`] alone.

use crate::Recipe;
use crate::adapter_training::{Example, TrainProgress, Trained, train};
use crate::pretrain::Proceed;
use crate::train_error::TrainError;
use openledger_model::Decoder;
use openledger_tensor::with_threads;
use std::cmp::Reverse;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Progress of one run of a design.
#[derive(Clone, Copy, Debug)]
pub struct DesignProgress {
    /// Index into the subsets.
    pub run: usize,
    /// Runs in all.
    pub runs: usize,
    /// The run's own progress.
    pub progress: TrainProgress,
}

/// Trains one adapter for each subset, on up to `threads` threads.
///
/// The longest runs start first. Results are in the order of the subsets. Errors: as [`train`]; the first
/// failure stops the other runs.
pub fn train_design(
    base: &Decoder,
    recipe: &Recipe,
    examples: &[Example],
    subsets: &[Vec<bool>],
    threads: usize,
    progress: impl Fn(DesignProgress) -> Proceed + Sync,
) -> Result<Vec<Trained>, TrainError> {
    let queue = longest_first(examples, subsets);
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let worker = || {
        let mut done = Vec::new();
        while let Some(run) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = train(base, recipe, examples, &subsets[*run], |p| {
                let report = DesignProgress { run: *run, runs: subsets.len(), progress: p };
                if progress(report) == Proceed::Stop {
                    stop.store(true, Ordering::Relaxed);
                }
                if stop.load(Ordering::Relaxed) { Proceed::Stop } else { Proceed::Continue }
            });
            let failed = result.is_err();
            done.push((*run, result));
            if failed {
                stop.store(true, Ordering::Relaxed);
                break;
            }
        }
        done
    };
    let mut all: Vec<(usize, Result<Trained, TrainError>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.clamp(1, subsets.len().max(1)))
            .map(|_| scope.spawn(|| with_threads(1, worker)))
            .collect();
        let join = |w: std::thread::ScopedJoinHandle<'_, Vec<_>>| match w.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().flat_map(join).collect()
    });
    // A run that was stopped because another failed comes after that failure.
    all.sort_by_key(|(run, r)| (matches!(r, Err(TrainError::Stopped { .. })), *run));
    all.into_iter().map(|(_, result)| result).collect()
}

/// Runs by the tokens they train on, so that no long run is left for the end.
fn longest_first(examples: &[Example], subsets: &[Vec<bool>]) -> Vec<usize> {
    let tokens = |subset: &[bool]| -> usize {
        let present = |e: &&Example| subset.get(e.player).is_some_and(|present| *present);
        examples.iter().filter(present).map(|e| e.tokens.len()).sum()
    };
    let mut runs: Vec<usize> = (0..subsets.len()).collect();
    runs.sort_by_key(|run| Reverse(tokens(&subsets[*run])));
    runs
}
