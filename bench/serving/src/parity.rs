//! The gate: our logits are those of Transformers and PEFT, for the base and for every adapter.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use eyre::{ContextCompat, Result, ensure};
use openledger_model::serving::{
    PAGE_TOKENS, PageId, SequenceStep, ServingAdapter, ServingDecoder,
};
use openledger_model::{Adapter, Decoder, Weights};

use crate::ours::likeliest;
use crate::{Form, job, peer};

/// Largest difference of a logit, relative to the largest logit, for each form: f32 differs by the order of
/// sums, bf16 pages by their rounding, the others by that of weights, inputs and adapters.
fn tolerance(form: Form) -> f64 {
    match form {
        Form::F32 => 2e-5,
        Form::Bf16 => 1e-2,
        Form::Int8 => 0.1,
        Form::FourBit => 0.8,
    }
}

/// Compares the logits after the first prompt. Errors if a form is outside its tolerance.
pub(crate) fn check(folder: &Path, python: &Path) -> Result<String> {
    let theirs: Vec<Vec<f32>> = peer::run(python, &["logits"], folder)?;
    let (config, weights) = Weights::load(&job::base_folder(folder))?;
    let exact = Decoder::new(config.clone(), weights.clone(), false);
    let adapters = (0..job::FOLDERS)
        .map(|i| Adapter::load(&job::adapter_folder(folder, i), &exact))
        .collect::<Result<Vec<_>, _>>()?;
    let mut text = String::from(
        "| weights, pages, adapters | largest difference of a logit, of the largest | same first choice |\n|---|---|---|\n",
    );
    for form in Form::ALL {
        let (kv, packed) = form.companions();
        let decoder = ServingDecoder::new(config.clone(), weights.clone(), form.weights(), kv);
        let (mut worst, mut same) = (0.0f64, 0);
        for (i, theirs) in theirs.iter().enumerate() {
            let adapter =
                i.checked_sub(1).map(|i| Arc::new(ServingAdapter::pack(&adapters[i], packed)));
            let blend: Vec<_> = adapter.into_iter().map(|a| (a, 1.0)).collect();
            let tokens = job::prompt(0);
            let pages: Vec<_> =
                (0..tokens.len().div_ceil(PAGE_TOKENS) as u32).map(PageId).collect();
            let step = SequenceStep {
                tokens: &tokens,
                before: 0,
                pages: &pages,
                adapters: &blend,
                logits_wanted: true,
            };
            let ours = decoder.step(&mut decoder.pages(pages.len()), &[step])?.remove(0);
            let ours = ours.wrap_err("logits were wanted")?;
            ensure!(ours.len() == theirs.len(), "{} logits and {}", ours.len(), theirs.len());
            let largest = theirs.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            let difference = ours.iter().zip(theirs).fold(0.0f32, |a, (x, y)| a.max((x - y).abs()));
            worst = worst.max(f64::from(difference / largest));
            same += usize::from(likeliest(&ours) == likeliest(theirs));
        }
        let _ = writeln!(
            text,
            "| {form:?}, {kv:?}, {packed:?} | {worst:.1e} | {same} of {} |",
            theirs.len()
        );
        ensure!(
            worst <= tolerance(form),
            "{form:?} differs by {worst:e}, more than {:e}:\n{text}",
            tolerance(form)
        );
    }
    Ok(text)
}
