//! Trains one segment of a published run again: what an auditor does who doubts that an adapter is what
//! its recipe gives.

use std::{fs, path::Path};

use openledger_attribution::Certificate;
use openledger_factory::{Trained, TrainingRun, state_file};
use openledger_model::{Adapter, ChatTemplate, Decoder, Tokenizer};
use openledger_primitives::{B256, merkle};
use serde::Serialize;

use crate::{
    CommittedStates, Error, ModelManifest, PublishedModel, TrainingJob, make_certificate,
    published_model::{run_folder, states_folder},
};

/// A model in the folder of a node, ready for its training to be repeated.
#[derive(Debug)]
pub struct Retraining {
    folder: std::path::PathBuf,
    base: Decoder,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    model: PublishedModel,
}

/// What training one segment again has shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentReport {
    /// Run of the design.
    pub run: usize,
    /// Segment of the run, from 1.
    pub segment: usize,
    /// First step of the segment, from 1.
    pub first_step: usize,
    /// Last step of the segment.
    pub last_step: usize,
    /// Who is in the run.
    pub contributors: Vec<String>,
    /// State hash that the trace records.
    pub recorded: B256,
    /// State hash that training gives.
    pub found: B256,
}

impl SegmentReport {
    /// Whether training gives the recorded state.
    pub fn is_equal(&self) -> bool {
        self.recorded == self.found
    }
}

/// Commits to the traces of all runs: a Merkle root over the roots of the runs, zero for the base. The
/// registry computes the same from what was committed while training.
pub fn trace_root(traces: &[Vec<B256>]) -> B256 {
    let runs: Vec<B256> =
        traces.iter().map(|trace| merkle::leaf_hash(run_root(trace).as_slice())).collect();
    merkle::root(&runs)
}

/// Commits to the states of one run so far: their Merkle root, zero for none.
pub(crate) fn run_root(states: &[B256]) -> B256 {
    let leaves: Vec<B256> =
        states.iter().map(|state| merkle::leaf_hash(state.as_slice())).collect();
    if leaves.is_empty() { B256::ZERO } else { merkle::root(&leaves) }
}

/// State hashes of a finished run.
pub(crate) fn states_of(trained: &Trained) -> Vec<B256> {
    trained.trace.iter().map(|state| B256::from(*state)).collect()
}

impl Retraining {
    /// Loads the model `name` of the node's folder `data_dir`, with its base.
    ///
    /// Errors: [`Error::Audit`] if the model or its base is not there, or its traces are not those that
    /// its trace root commits to.
    pub fn open(data_dir: &Path, name: &str) -> Result<Self, Error> {
        let models = data_dir.join("models");
        let mut known = Vec::new();
        for folder in PublishedModel::folders(&models)? {
            let Some(manifest) = ModelManifest::read(&folder)? else { continue };
            if manifest.name != name {
                known.push(manifest.name);
                continue;
            }
            let (base, base_dir) = base_for_training(data_dir, manifest.base_hash)?;
            let tokenizer = Tokenizer::from_file(&base_dir.join("tokenizer.json"))?;
            let template = ChatTemplate::from_dir(&base_dir)?;
            let model = PublishedModel::load(&folder, &tokenizer, &template)?;
            if trace_root(&model.manifest.traces) != model.manifest.trace_root {
                let what = format!("the traces of {name:?} are not what its trace root commits to");
                return Err(Error::Audit(what));
            }
            return Ok(Self { folder, base, tokenizer, template, model });
        }
        let known = if known.is_empty() { "no model".to_owned() } else { known.join(", ") };
        let what = format!("no model {name:?} in {}; it holds {known}", models.display());
        Err(Error::Audit(what))
    }

    /// The id on chain, and the root that the chain must hold.
    pub fn commitment(&self) -> (u64, B256) {
        (self.model.manifest.model_id, self.model.manifest.trace_root)
    }

    /// Compares what was committed on chain while training with the traces.
    ///
    /// Errors: [`Error::Audit`] naming the first commitment that does not cover the states of its run up to
    /// its step, or the first run whose last state was never committed.
    pub fn check_committed(&self, committed: &[CommittedStates]) -> Result<(), Error> {
        let manifest = &self.model.manifest;
        let mut last = vec![0; manifest.traces.len()];
        for states in committed {
            let CommittedStates { run, step, root, block } = *states;
            let trace = manifest.traces.get(run).map(Vec::as_slice).unwrap_or_default();
            let entries = manifest.recipe.trace_entries(step);
            let covers = step <= manifest.recipe.steps
                && manifest.recipe.traces(step)
                && trace.get(..entries).is_some_and(|states| run_root(states) == root);
            if !covers {
                return Err(Error::Audit(format!(
                    "what block {block} commits of run {run} after {step} steps is not what its trace has"
                )));
            }
            last[run] = last[run].max(entries);
        }
        match (0..last.len()).find(|run| last[*run] < manifest.traces[*run].len()) {
            Some(run) => {
                Err(Error::Audit(format!("the last state of run {run} was not committed")))
            }
            None => Ok(()),
        }
    }

    /// Segments of a run; none for a run that is the base.
    pub fn segments(&self, run: usize) -> usize {
        self.model.manifest.traces.get(run).map_or(0, Vec::len)
    }

    /// Its manifest.
    pub fn manifest(&self) -> &ModelManifest {
        &self.model.manifest
    }

    /// Its certificate, if it has one.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.model.certificate.as_ref()
    }

    /// Trains the held-out subsets of `count` again that `seed` draws, and compares them with what the kept
    /// adapters predict: the certificate that follows.
    ///
    /// Errors: [`Error::Audit`] if an adapter is not the recorded one; those of [`make_certificate`].
    pub fn certify_again(
        &self,
        seed: u64,
        count: usize,
        threads: usize,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Certificate, Error> {
        let mut adapters = Vec::with_capacity(self.model.manifest.runs.len());
        for (run, hash) in self.model.manifest.runs.iter().enumerate() {
            let load = |_| Adapter::load(&run_folder(&self.folder, run), &self.base);
            let adapter = hash.map(load).transpose()?;
            if adapter.as_ref().map(|adapter| B256::from(adapter.hash())) != *hash {
                return Err(Error::Audit(format!("the adapter of run {run} has another hash")));
            }
            adapters.push(adapter);
        }
        let adapters: Vec<Option<&Adapter>> = adapters.iter().map(Option::as_ref).collect();
        make_certificate(&self.job(threads), &adapters, seed, count, progress)
    }

    fn job(&self, threads: usize) -> TrainingJob<'_> {
        let manifest = &self.model.manifest;
        TrainingJob {
            base: &self.base,
            tokenizer: &self.tokenizer,
            template: &self.template,
            version: &self.model.records,
            players: &manifest.players,
            grouping: &manifest.grouping,
            recipe: &manifest.recipe,
            design: &self.model.design,
            threads,
            workers: threads,
            folder: &self.folder,
        }
    }

    /// Trains `segment` of `run` again, from the state that the run had at its start.
    ///
    /// Errors: [`Error::Audit`] if there is no such segment, or the state at its start is missing or not
    /// the recorded one.
    pub fn segment(
        &self,
        run: usize,
        segment: usize,
        threads: usize,
    ) -> Result<SegmentReport, Error> {
        let manifest = &self.model.manifest;
        let trace = manifest.traces.get(run).map(Vec::as_slice).unwrap_or_default();
        let Some(recorded) = segment.checked_sub(1).and_then(|index| trace.get(index)).copied()
        else {
            return Err(Error::Audit(match trace.len() {
                0 => format!("run {run} is not one that was trained"),
                n => format!("run {run} has the segments 1 to {n}, not {segment}"),
            }));
        };
        let subset = manifest.grouping.trained(&self.model.design.subset(run));
        let job = self.job(threads);
        let examples = job.examples()?;
        let training = TrainingRun::new(&self.base, &manifest.recipe, &examples, &subset)?;
        let first = (segment - 1) * manifest.recipe.trace_every;
        let state = match segment {
            1 => training.start(),
            _ => {
                let file = state_file(&states_folder(&run_folder(&self.folder, run)), first);
                if !file.exists() {
                    let file = file.display();
                    return Err(Error::Audit(format!(
                        "the state at the start of the segment is not here ({file}): ask the operator for it"
                    )));
                }
                training.resume(&file)?
            }
        };
        if segment > 1 && B256::from(state.hash()) != trace[segment - 2] {
            let what =
                format!("the state kept for step {first} of run {run} is not the recorded one");
            return Err(Error::Audit(what));
        }
        let steps = manifest.recipe.trace_every.min(manifest.recipe.steps - first);
        let found = openledger_tensor::with_threads(threads, || {
            openledger_factory::retrain_segment(
                &self.base,
                &manifest.recipe,
                &examples,
                &subset,
                &state,
                steps,
            )
        })?;
        let inside = manifest.players.iter().zip(&subset).filter(|(_, inside)| **inside);
        Ok(SegmentReport {
            run,
            segment,
            first_step: first + 1,
            last_step: first + steps,
            contributors: inside.map(|(player, _)| player.contributor.clone()).collect(),
            recorded,
            found: found.into(),
        })
    }
}

/// The base with this hash among those under `data_dir`, and its folder.
pub(crate) fn base_for_training(
    data_dir: &Path,
    hash: B256,
) -> Result<(Decoder, std::path::PathBuf), Error> {
    let bases = data_dir.join("bases");
    let entries = fs::read_dir(&bases).map_err(|error| Error::io("read", &bases, error))?;
    for entry in entries {
        let folder = entry.map_err(|error| Error::io("read", &bases, error))?.path();
        let base = Decoder::load_for_training(&folder)?;
        if B256::from(base.hash()) == hash {
            return Ok((base, folder));
        }
    }
    Err(Error::Audit(format!("no base with hash {hash} in {}", bases.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_root_commits_to_every_state_of_every_run_and_to_its_place() {
        let state = B256::repeat_byte;
        let traces = vec![vec![state(1), state(2)], vec![], vec![state(3)]];
        let root = trace_root(&traces);
        let mut others = vec![traces.clone(); 4];
        others[0][0][1] = state(9);
        others[1].swap(0, 2);
        others[2][1] = vec![state(0)];
        others[3][0].pop();
        assert!(others.iter().all(|other| trace_root(other) != root));
        assert_eq!(trace_root(&traces), root);
    }
}
