//! Who shaped an answer, by the methods of the literature: gradients, curvature, retrieval.
//!
//! For the benchmark, and for those who want a score per record. What is paid is decided by
//! `attribution` alone; nothing here is read by it. Not here: the counterfactual design, truths by
//! retraining, tables (`bench/attribution`).
//!
//! ```text
//! base, adapter, records ─▶ example_gradients ─▶ Gradients ─┐
//! questions ──────────────▶ example_gradients ─▶ Gradients ─┴▶ Method::scores ─▶ Scores ─▶ per player
//! recipe, records ─▶ replay ─▶ every state of the run ─▶ checkpoints (TracIn), exact_derivative
//! tokens ─▶ Bm25 ─▶ Scores
//! ```
//!
//! **Invariant:** a score is a float and explains; it never decides money.
//! **Invariant:** a positive score says that the record made the answer more likely.

#![forbid(unsafe_code)]

mod blocks;
mod data_inf;
mod eigen;
mod ekfac;
mod error;
mod exact_derivative;
mod gradients;
mod inner_products;
mod replay;
mod retrieval;
mod scores;
mod trak;

pub use blocks::{Block, blocks};
pub use data_inf::DataInf;
pub use eigen::eigen;
pub use ekfac::{EkFac, LayerRows};
pub use error::Error;
pub use exact_derivative::exact_derivative;
pub use gradients::{Gradients, Sequence, example_gradients, likelihoods};
pub use inner_products::{GradCos, GradDot, TracIn};
pub use replay::{History, replay};
pub use retrieval::bm25;
pub use scores::{Checkpoint, Damped, Damping, Method, Problem, Scores};
pub use trak::Trak;
