//! What can go wrong with a training run.

use std::path::PathBuf;

/// Errors of training.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The model refused its input.
    #[error(transparent)]
    Model(#[from] openledger_model::Error),
    /// There is not enough text for one window.
    #[error(
        "{tokens} tokens are fewer than one window of {window}; give more text or shorter windows"
    )]
    TooFewTokens {
        /// Tokens given.
        tokens: usize,
        /// Tokens of a window, at least.
        window: usize,
    },
    /// A field of the recipe is out of range.
    #[error("recipe field {field} is out of range")]
    Recipe {
        /// Its name.
        field: &'static str,
    },
    /// There is nothing to train on.
    #[error("there are no examples; a version with at least one record is needed")]
    NoExamples,
    /// An example cannot be trained on.
    #[error("example {index} cannot be trained on: {why}")]
    Example {
        /// Its place.
        index: usize,
        /// Why.
        why: String,
    },
    /// The caller asked to stop.
    #[error("training was stopped after step {step}")]
    Stopped {
        /// Steps that were done.
        step: usize,
    },
    /// A design was asked for in an arithmetic that others cannot repeat.
    #[error(
        "a design cannot be trained with precision \"fast\": payouts rest on runs that anybody can \
         repeat; use precision \"exact\""
    )]
    FastDesign,
    /// A segment was asked for in an arithmetic that others cannot repeat.
    #[error(
        "a segment trained with precision \"fast\" proves nothing: another machine may give other bits"
    )]
    FastSegment,
    /// A segment goes beyond the end of its run.
    #[error("a segment of {steps} steps does not fit: {left} are left from this state")]
    SegmentTooLong {
        /// Steps asked for.
        steps: usize,
        /// Steps up to the end of the recipe.
        left: usize,
    },
    /// The loss is no longer a number.
    #[error("training diverged at step {step}; lower the learning rate")]
    Diverged {
        /// Steps that were done.
        step: usize,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A checkpoint cannot be resumed.
    #[error("checkpoint {path} cannot be resumed: {why}; remove it to start again")]
    Checkpoint {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
}
