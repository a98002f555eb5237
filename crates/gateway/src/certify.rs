//! The fidelity certificate of a published model: subsets of contributors that no run of its design trained
//! are trained, and what happens is compared with what the effects predict.
//!
//! ```text
//! registration's block hash ─▶ seed ─▶ held-out subsets ─▶ train ─▶ values of answers ─┐
//! design's adapters ─▶ values of the same answers ─▶ effects ─▶ predictions ───────────┴▶ certificate
//! ```

use std::{fs, path::Path};

use openledger_attribution::{Certificate, certify, effects, held_out, predicted};
use openledger_factory::{DesignOptions, Proceed};
use openledger_model::{Adapter, ScoreRequest};
use openledger_primitives::{Address, B256};

use crate::{Error, Ledger, ModelManifest, TrainedModel, TrainingJob, files::write_durably};

/// File name of a model's certificate.
const CERTIFICATE: &str = "certificate.json";
/// Answers that a certificate is made with, at most: completions of records, spread evenly.
pub const CERTIFIED_ANSWERS_MAX: usize = 32;

/// Reads the certificate in a model's folder, if there is one.
///
/// Errors: [`Error::Corrupt`], [`Error::Io`].
pub fn read_certificate(folder: &Path) -> Result<Option<Certificate>, Error> {
    let path = folder.join(CERTIFICATE);
    match fs::read(&path) {
        Ok(json) => serde_json::from_slice(&json)
            .map(Some)
            .map_err(|error| Error::Corrupt(format!("{}: {error}", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", &path, error)),
    }
}

/// What a certificate is drawn with: the first eight bytes of the hash of the block that registered the
/// model, which nobody knew when the adapters were made.
pub fn certificate_seed(registration_block: B256) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = registration_block.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Trains `count` held-out subsets and says how well the effects predicted them. Blocks for as long as that
/// takes.
///
/// Errors: [`Error::Attribution`] where the design leaves fewer subsets than that; what the factory reports.
pub fn make_certificate(
    job: &TrainingJob<'_>,
    trained: &TrainedModel,
    seed: u64,
    count: usize,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Certificate, Error> {
    let design = &trained.design;
    let masks = held_out(design, seed, count)?;
    let subsets: Vec<Vec<bool>> = masks
        .iter()
        .map(|mask| (0..design.players()).map(|player| mask >> player & 1 == 1).collect())
        .collect();
    let examples = job.examples()?;
    let done = std::sync::atomic::AtomicU64::new(0);
    let options = DesignOptions { threads: job.threads, ..DesignOptions::default() };
    let retrained = openledger_factory::train_design_with(
        job.base,
        job.recipe,
        &examples,
        &subsets,
        &options,
        |at| {
            let steps = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            progress(steps, (at.runs * at.progress.steps) as u64);
            Proceed::Continue
        },
    )?;
    let design_runs: Vec<Option<&Adapter>> =
        trained.runs.iter().map(|run| run.as_ref().map(|run| &run.adapter)).collect();
    let held_out_runs: Vec<Option<&Adapter>> =
        retrained.iter().map(|run| Some(&run.adapter)).collect();
    let step = examples.len().div_ceil(CERTIFIED_ANSWERS_MAX).max(1);
    let (mut predictions, mut actual) = (Vec::new(), Vec::new());
    for example in examples.iter().step_by(step) {
        let values = |adapters: &[Option<&Adapter>]| -> Result<Vec<i64>, Error> {
            let requests: Vec<ScoreRequest<'_>> = adapters
                .iter()
                .map(|adapter| ScoreRequest {
                    tokens: &example.tokens,
                    answer_start: example.answer_start,
                    adapter: *adapter,
                })
                .collect();
            let likelihoods = openledger_tensor::with_threads(job.threads, || {
                job.base.log_likelihoods(&requests)
            })?;
            Ok(likelihoods.iter().map(|tokens| tokens.iter().sum()).collect())
        };
        let effects = effects(design, &values(&design_runs)?)?;
        predictions.push(predicted(effects.per_player(), &masks));
        actual.push(values(&held_out_runs)?);
    }
    Ok(certify(design, seed, count, &predictions, &actual)?)
}

/// Keeps a certificate in the model's folder and commits it on chain, in the name of the model's owner.
pub async fn publish_certificate(
    ledger: &Ledger,
    owner: Address,
    folder: &Path,
    manifest: &ModelManifest,
    certificate: &Certificate,
) -> Result<(), Error> {
    ledger.commit_certificate(owner, manifest.model_id, certificate).await?;
    let json = serde_json::to_vec_pretty(certificate).expect("strings, integers and lists");
    write_durably(&folder.join(CERTIFICATE), &json)
}
