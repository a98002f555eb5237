//! The gate: our logits are those of the peers, for the base and for every adapter.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use eyre::{ContextCompat, Result, ensure};
use openledger_model::serving::{
    PAGE_TOKENS, PageId, SequenceStep, ServingAdapter, ServingDecoder,
};
use openledger_model::{Adapter, Decoder, Weights};

use crate::ours::likeliest;
use crate::peer::Pythons;
use crate::{Form, job};

/// Largest difference of a logit, relative to the largest logit, for each form: f32 differs by the order of
/// sums, bf16 pages by their rounding, the others by that of weights, inputs and adapters.
fn tolerance(form: Form) -> f64 {
    match form {
        Form::F32 => 2e-5,
        Form::Bf16 => 1e-2,
        Form::Bf16Adapters8 => 3e-2,
        Form::Int8 => 0.1,
        Form::FourBit => 0.8,
    }
}

/// llama.cpp in f32 against ours in f32: it adds in another order and turns heads with another rounding.
const LLAMA_TOLERANCE: f64 = 1e-3;

/// Compares the logits after the first prompt with those of every peer that there is. Errors if a form is outside
/// its tolerance.
pub(crate) fn check(folder: &Path, pythons: &Pythons) -> Result<String> {
    let mut text = String::from(
        "| weights, pages, adapters | peer | largest difference of a logit, of the largest | same first choice |\n|---|---|---|---|\n",
    );
    if let Some(script) = pythons.peft() {
        let theirs = script.logits(folder)?;
        for form in Form::ALL {
            compare(&mut text, form, &ours(folder, form)?, "PEFT f32", &theirs, tolerance(form))?;
        }
    }
    if let Some(script) = pythons.llama() {
        let (theirs, form) = (script.logits(folder)?, Form::F32);
        let ours = ours(folder, form)?;
        compare(&mut text, form, &ours, "llama.cpp f32", &theirs, LLAMA_TOLERANCE)?;
    }
    Ok(text)
}

/// Adds a row to the table. Errors if the difference is larger than the tolerance.
fn compare(
    text: &mut String,
    form: Form,
    ours: &[Vec<f32>],
    peer: &str,
    theirs: &[Vec<f32>],
    tolerance: f64,
) -> Result<()> {
    ensure!(ours.len() == theirs.len(), "{} rows and {}", ours.len(), theirs.len());
    let (mut worst, mut same) = (0.0f64, 0);
    for (ours, theirs) in ours.iter().zip(theirs) {
        ensure!(ours.len() == theirs.len(), "{} logits and {}", ours.len(), theirs.len());
        let largest = theirs.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        let difference = ours.iter().zip(theirs).fold(0.0f32, |a, (x, y)| a.max((x - y).abs()));
        worst = worst.max(f64::from(difference / largest));
        same += usize::from(likeliest(ours) == likeliest(theirs));
    }
    let (kv, packed) = form.companions();
    let of = theirs.len();
    let _ =
        writeln!(text, "| {form:?}, {kv:?}, {packed:?} | {peer} | {worst:.1e} | {same} of {of} |");
    ensure!(
        worst <= tolerance,
        "{form:?} differs from {peer} by {worst:e}, more than {tolerance:e}:\n{text}"
    );
    Ok(())
}

/// Our logits after the first prompt, for the base and every adapter.
fn ours(folder: &Path, form: Form) -> Result<Vec<Vec<f32>>> {
    let (config, weights) = Weights::load(&job::base_folder(folder))?;
    let exact = Decoder::new(config.clone(), weights.clone(), false);
    let (kv, packed) = form.companions();
    let decoder = ServingDecoder::new(config, weights, form.weights(), kv);
    let tokens = job::prompt(0);
    let pages: Vec<_> = (0..tokens.len().div_ceil(PAGE_TOKENS) as u32).map(PageId).collect();
    let mut all = Vec::new();
    for number in std::iter::once(None).chain((0..job::FOLDERS).map(Some)) {
        let mut blend = Vec::new();
        if let Some(number) = number {
            let adapter = Adapter::load(&job::adapter_folder(folder, number), &exact)?;
            blend.push((Arc::new(ServingAdapter::pack(&adapter, packed)), 1.0));
        }
        let step = SequenceStep {
            tokens: &tokens,
            before: 0,
            pages: &pages,
            adapters: &blend,
            logits_wanted: true,
        };
        let logits = decoder.step(&mut decoder.pages(pages.len()), &[step])?.remove(0);
        all.push(logits.wrap_err("logits were wanted")?);
    }
    Ok(all)
}
