//! Trains one segment of a published run again: what an auditor does who doubts that an adapter is what
//! its recipe gives.

use std::{fs, path::Path};

use openledger_factory::{TrainingRun, state_file};
use openledger_model::{ChatTemplate, Decoder, Tokenizer};
use openledger_primitives::{B256, merkle};
use serde::Serialize;

use crate::{
    Error, PublishedModel, TrainingJob,
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

/// Commits to the traces of all runs: a Merkle root over the roots of the runs, zero for the base.
pub fn trace_root(traces: &[Vec<B256>]) -> B256 {
    let run = |trace: &Vec<B256>| {
        let leaves: Vec<B256> =
            trace.iter().map(|state| merkle::leaf_hash(state.as_slice())).collect();
        if leaves.is_empty() { B256::ZERO } else { merkle::root(&leaves) }
    };
    let runs: Vec<B256> =
        traces.iter().map(|trace| merkle::leaf_hash(run(trace).as_slice())).collect();
    merkle::root(&runs)
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
            let Some(manifest) = crate::ModelManifest::read(&folder)? else { continue };
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

    /// Segments of a run; none for a run that is the base.
    pub fn segments(&self, run: usize) -> usize {
        self.model.manifest.traces.get(run).map_or(0, Vec::len)
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
        let subset = self.model.design.subset(run);
        let job = TrainingJob {
            base: &self.base,
            tokenizer: &self.tokenizer,
            template: &self.template,
            version: &self.model.records,
            players: &manifest.players,
            recipe: &manifest.recipe,
            design: &self.model.design,
            threads,
            folder: &self.folder,
        };
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
fn base_for_training(data_dir: &Path, hash: B256) -> Result<(Decoder, std::path::PathBuf), Error> {
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
