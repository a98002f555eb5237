//! Training of all counterfactual adapters of a design, several at a time.
//!
//! ```text
//! runs, longest first ─▶ groups ─▶ one thread each ─▶ rows of the group in one batch over the base
//! ```
//!
//! A run on one thread wastes nothing on waiting for others, so runs are spread over workers of one thread
//! each rather than each run being split; where there are more threads than runs, or memory for few runs
//! at a time, a worker may have several. Every result is the same to the bit as that of
//! [`train`](crate::train) alone.
//!
//! With checkpoints several processes can share the work: a run is claimed by a lock on a file beside its
//! checkpoint, which the end of a process gives back. [`train_design_with`] waits for what others have
//! claimed and reads what they made; [`train_unclaimed`] helps and leaves it to them.

use crate::Recipe;
use crate::adapter_training::{Example, TrainProgress, Trained};
use crate::pretrain::Proceed;
use crate::train_error::TrainError;
use crate::training_checkpoint::Checkpoints;
use crate::training_run::{Stepper, TrainingRun};
use crate::training_state::TrainingState;
use openledger_model::Decoder;
use openledger_tensor::with_threads;
use std::cmp::Reverse;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Progress of one run of a design.
#[derive(Clone, Copy, Debug)]
pub struct DesignProgress<'a> {
    /// Index into the subsets.
    pub run: usize,
    /// Runs in all.
    pub runs: usize,
    /// The run's own progress.
    pub progress: TrainProgress<'a>,
}

/// How the runs of a design are spread; none of it changes a bit.
#[derive(Clone, Debug)]
pub struct DesignOptions {
    /// Workers, each with a group of runs of its own. Default 1.
    pub workers: usize,
    /// Threads of each worker. Default 1.
    pub threads_per_worker: usize,
    /// Runs whose rows share one batch. Default 1: see the measurements in `bench/training`.
    pub runs_per_batch: usize,
    /// A folder with a checkpoint of each run, from which the design goes on. Default none.
    pub checkpoints: Option<Checkpoints>,
}

impl Default for DesignOptions {
    fn default() -> Self {
        Self { workers: 1, threads_per_worker: 1, runs_per_batch: 1, checkpoints: None }
    }
}

/// Trains one adapter for each subset, on up to `threads` workers of one thread.
///
/// As [`train_design_with`] without checkpoints.
pub fn train_design(
    base: &Decoder,
    recipe: &Recipe,
    examples: &[Example],
    subsets: &[Vec<bool>],
    threads: usize,
    progress: impl Fn(DesignProgress<'_>) -> Proceed + Sync,
) -> Result<Vec<Trained>, TrainError> {
    let options = DesignOptions { workers: threads, ..DesignOptions::default() };
    train_design_with(base, recipe, examples, subsets, &options, progress)
}

/// Trains one adapter for each subset.
///
/// The longest runs start first. Results are in the order of the subsets. Errors: as
/// [`train`](crate::train), and what is said of checkpoints at [`TrainingRun::train`]; the first failure
/// stops the other runs. [`TrainError::FastDesign`] where the recipe's precision is not exact: payouts rest
/// on runs that anybody can repeat.
pub fn train_design_with(
    base: &Decoder,
    recipe: &Recipe,
    examples: &[Example],
    subsets: &[Vec<bool>],
    options: &DesignOptions,
    progress: impl Fn(DesignProgress<'_>) -> Proceed + Sync,
) -> Result<Vec<Trained>, TrainError> {
    let all = train_runs(base, recipe, examples, subsets, options, Others::WaitFor, progress)?;
    Ok(all.into_iter().map(|(_, trained)| trained).collect())
}

/// Trains those runs of a design that no other process is at, into the checkpoints that `options` names.
/// Returns the runs whose ends are there now through this process, by their indices.
///
/// Errors: as [`train_design_with`].
pub fn train_unclaimed(
    base: &Decoder,
    recipe: &Recipe,
    examples: &[Example],
    subsets: &[Vec<bool>],
    options: &DesignOptions,
    progress: impl Fn(DesignProgress<'_>) -> Proceed + Sync,
) -> Result<Vec<usize>, TrainError> {
    let all = train_runs(base, recipe, examples, subsets, options, Others::LeaveTo, progress)?;
    Ok(all.into_iter().map(|(run, _)| run).collect())
}

/// What happens to a run that another process has claimed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    WaitFor,
    LeaveTo,
}

fn train_runs(
    base: &Decoder,
    recipe: &Recipe,
    examples: &[Example],
    subsets: &[Vec<bool>],
    options: &DesignOptions,
    others: Others,
    progress: impl Fn(DesignProgress<'_>) -> Proceed + Sync,
) -> Result<Vec<(usize, Trained)>, TrainError> {
    recipe.check_for_design()?;
    if let Some(Checkpoints { path, .. }) = &options.checkpoints {
        let file = |source| TrainError::File { path: path.clone(), source };
        std::fs::create_dir_all(path).map_err(file)?;
    }
    let queue = longest_first(examples, subsets);
    let workers = options.workers.clamp(1, subsets.len().max(1));
    // No thread without work because another took it all.
    let group = options.runs_per_batch.clamp(1, subsets.len().div_ceil(workers).max(1));
    let queue: Vec<&[usize]> = queue.chunks(group).collect();
    let threads = options.threads_per_worker.max(1);
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let claimed_by_others = Mutex::new(Vec::new());
    let later = || claimed_by_others.lock().unwrap_or_else(PoisonError::into_inner);
    // First what nobody is at, then what others are.
    let next_group = || match queue.get(next.fetch_add(1, Ordering::Relaxed)) {
        Some(members) => Some((*members, false)),
        None if others == Others::WaitFor => later().pop().map(|members| (members, true)),
        None => None,
    };
    let worker = || {
        let mut done = Vec::new();
        while let Some((members, wait)) = next_group() {
            let claims = match claims(options, members, wait) {
                Ok(Some(claims)) => claims,
                Ok(None) => {
                    later().push(members);
                    continue;
                }
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    done.push((members[0], Err(error)));
                    break;
                }
            };
            let runs =
                members.iter().map(|m| TrainingRun::new(base, recipe, examples, &subsets[*m]));
            let result = runs.collect::<Result<Vec<_>, _>>().and_then(|runs| {
                train_together(&runs, members, options, |run, p| {
                    let report = DesignProgress { run, runs: subsets.len(), progress: p };
                    if progress(report) == Proceed::Stop {
                        stop.store(true, Ordering::Relaxed);
                    }
                    if stop.load(Ordering::Relaxed) { Proceed::Stop } else { Proceed::Continue }
                })
            });
            drop(claims);
            match result {
                Ok(all) => done.extend(members.iter().zip(all).map(|(m, t)| (*m, Ok(t)))),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    done.push((members[0], Err(error)));
                    break;
                }
            }
        }
        done
    };
    let mut all: Vec<(usize, Result<Trained, TrainError>)> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..workers).map(|_| scope.spawn(|| with_threads(threads, worker))).collect();
        let join = |w: std::thread::ScopedJoinHandle<'_, Vec<_>>| match w.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().flat_map(join).collect()
    });
    // A run that was stopped because another failed comes after that failure.
    all.sort_by_key(|(run, r)| (matches!(r, Err(TrainError::Stopped { .. })), *run));
    all.into_iter().map(|(run, result)| Ok((run, result?))).collect()
}

/// Takes the runs of a group for this process, all or none; nothing is to be taken without checkpoints.
fn claims(
    options: &DesignOptions,
    members: &[usize],
    wait: bool,
) -> Result<Option<Vec<File>>, TrainError> {
    let Some(checkpoints) = &options.checkpoints else { return Ok(Some(Vec::new())) };
    members.iter().map(|run| checkpoints.of_run(*run).claim(wait)).collect()
}

/// Trains runs of one base and recipe in lock step, each from its own checkpoint.
fn train_together(
    runs: &[TrainingRun<'_>],
    members: &[usize],
    options: &DesignOptions,
    progress: impl Fn(usize, TrainProgress<'_>) -> Proceed,
) -> Result<Vec<Trained>, TrainError> {
    let files: Option<Vec<Checkpoints>> =
        options.checkpoints.as_ref().map(|c| members.iter().map(|m| c.of_run(*m)).collect());
    let resumed = |i: usize| match &files {
        Some(files) => runs[i].resume(&files[i].path),
        None => Ok(runs[i].start()),
    };
    let mut states = (0..runs.len()).map(resumed).collect::<Result<Vec<TrainingState>, _>>()?;
    let mut stepper = Stepper::new(runs)?;
    while let Some(behind) = (0..runs.len()).find(|i| states[*i].step < runs[*i].recipe().steps) {
        let before: Vec<usize> = states.iter().map(|s| s.step).collect();
        stepper.step(runs, &mut states)?;
        let mut proceed = Proceed::Continue;
        let moved = (0..runs.len()).filter(|i| states[*i].step > before[*i]);
        let moved: Vec<usize> = moved.collect();
        for i in &moved {
            if progress(members[*i], runs[*i].progress(&states[*i])) == Proceed::Stop {
                proceed = Proceed::Stop;
            }
        }
        for i in moved {
            let last = proceed == Proceed::Stop || states[i].step == runs[i].recipe().steps;
            if let Some(files) = &files {
                files[i].keep(&runs[i], &states[i], last)?;
            }
        }
        let (step, steps) = (states[behind].step, runs[behind].recipe().steps);
        if proceed == Proceed::Stop && step < steps {
            return Err(TrainError::Stopped { step });
        }
    }
    runs.iter().zip(states).map(|(run, state)| run.finish(state)).collect()
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
