//! The fidelity certificate of a published model: subsets of contributors that no run of its design trained
//! are trained, and what happens is compared with what the effects predict.
//!
//! ```text
//! registration's block hash ─▶ seed ─▶ held-out subsets ─▶ train ─▶ values of answers ─┐
//! design's adapters ─▶ values of the same answers ─▶ effects ─▶ predictions ───────────┴▶ certificate
//! ```

use std::{fs, path::Path};

use openledger_attribution::{
    Certificate, Design, certify, effects, held_out, players_in, predicted,
};
use openledger_contracts::ModelRegistry::Fidelity;
use openledger_factory::Proceed;
use openledger_model::{Adapter, ScoreRequest};
use openledger_primitives::{Address, B256};

use crate::{
    Check, Error, Ledger, ModelManifest, TrainingJob, files::write_durably, training::StepCount,
};

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

/// Compares a certificate with what the chain says of its model, without training anything.
///
/// `registration_block`: hash of the block that registered the model. `committed`: hash and figures that its
/// owner committed last.
pub fn check_certificate(
    certificate: &Certificate,
    manifest: &ModelManifest,
    registration_block: B256,
    committed: (B256, &Fidelity),
) -> Vec<Check> {
    let seed = certificate_seed(registration_block);
    let design = || {
        if certificate.design == manifest.design {
            Ok(())
        } else {
            Err("the certificate is about another design".to_owned())
        }
    };
    let drawn_with = || match certificate.seed == seed {
        true => Ok(()),
        false => Err(format!(
            "the seed is {}, but block {registration_block} gives {seed}",
            certificate.seed
        )),
    };
    let subsets = || {
        let design = Design::try_from(&manifest.design).map_err(|error| error.to_string())?;
        let count = certificate.subsets.len();
        let drawn = held_out(&design, seed, count).map_err(|error| error.to_string())?;
        match drawn.iter().zip(&certificate.subsets).position(|(drawn, found)| drawn != found) {
            None => Ok(()),
            Some(first) => Err(format!("subset {first} is another than the block's hash draws")),
        }
    };
    let on_chain = || {
        let figures = (
            (committed.1.ldsPpm, committed.1.lowPpm, committed.1.highPpm),
            committed.1.subsets as usize,
        );
        let own = (
            (certificate.lds_ppm, certificate.low_ppm, certificate.high_ppm),
            certificate.subsets.len(),
        );
        if certificate.hash() != committed.0 {
            Err(format!("the chain holds the certificate {}", committed.0))
        } else if figures != own {
            Err("the chain holds other figures than the certificate".to_owned())
        } else {
            Ok(())
        }
    };
    vec![
        Check::new("design", "the certificate is about the model's design", design()),
        Check::new("seed", "the seed is the hash of the block of registration", drawn_with()),
        Check::new("subsets", "that seed draws these held-out subsets", subsets()),
        Check::new("chain", "the chain holds this certificate and its figures", on_chain()),
    ]
}

/// Trains `count` held-out subsets and says how well the effects predicted them. Blocks for as long as that
/// takes.
///
/// `adapters`: of the runs of the job's design; `None` where the run is the base.
///
/// Errors: [`Error::Attribution`] where the design leaves fewer subsets than that; what the factory reports.
pub fn make_certificate(
    job: &TrainingJob<'_>,
    adapters: &[Option<&Adapter>],
    seed: u64,
    count: usize,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Certificate, Error> {
    let design = job.design;
    let masks = held_out(design, seed, count)?;
    let subsets: Vec<Vec<bool>> = masks
        .iter()
        .map(|mask| job.grouping.trained(&players_in(*mask, design.players())))
        .collect();
    let examples = job.examples()?;
    let counted = StepCount::new(subsets.len());
    let options = job.options(None);
    let retrained = openledger_factory::train_design_with(
        job.base,
        job.recipe,
        &examples,
        &subsets,
        &options,
        |at| {
            let (steps, of) = counted.count(at);
            progress(steps, of);
            Proceed::Continue
        },
    )?;
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
        let effects = effects(design, &values(adapters)?)?;
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
