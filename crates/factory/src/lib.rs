//! Trains models: adapters on contributions, and the small base model that ships with the project.
//!
//! Takes tokens and recipes, returns weights, a trace and losses. Not here: where records come from
//! (`datanet`), who is paid (`attribution`), jobs, queues and HTTP (`gateway`).
//!
//! ```text
//! examples, recipe, subset of players ─▶ train        ─▶ adapter, trace   ◀─▶ checkpoints
//!                 many subsets ────────▶ train_design ─▶ counterfactual adapters
//!           state, entry of a trace ───▶ retrain_segment ─▶ equal or not
//! base recipe ─▶ corpus ─▶ tokens ─────▶ pretrain     ─▶ weights of a base
//! ```
//!
//! **Invariant:** a result is a function of its inputs. Threads, SIMD path, pauses and what is trained
//! beside it change no bit.
//! **Invariant:** every subset has the same start, order, schedule and divisor; records of absent players
//! are skipped.
//! **Invariant:** what others are paid by is trained in exact precision, and nothing else is.
//! **Invariant:** a run touches no disk but its checkpoint and the lock beside it, and reads the clock only
//! for the speed it reports; progress is a callback.

#![forbid(unsafe_code)]

mod adapter_training;
mod base_folder;
mod base_recipe;
mod corpus;
mod corpus_error;
mod corpus_forms;
mod design_training;
mod durable_file;
mod pretrain;
mod recipe;
mod record_order;
mod train_error;
mod training_checkpoint;
mod training_run;
mod training_state;

pub use adapter_training::{Example, TrainProgress, Trained, retrain_segment, train};
pub use base_folder::{read_chat_template, write_tokenizer_files};
pub use base_recipe::{BaseRecipe, Form, ShapeRecipe, Source, TokenizerRecipe, TrainingRecipe};
pub use corpus::{Corpus, CorpusTokens, SourceReport};
pub use corpus_error::CorpusError;
pub use corpus_forms::Document;
pub use design_training::{
    DesignOptions, DesignProgress, train_design, train_design_with, train_unclaimed,
};
pub use openledger_model::Precision;
pub use pretrain::{Pretrain, PretrainProgress, Proceed, pretrain};
pub use recipe::{BATCH_SIZE_MAX, Recipe, STEPS_MAX};
pub use train_error::TrainError;
pub use training_checkpoint::{Checkpoints, state_file, states_folder};
pub use training_run::TrainingRun;
pub use training_state::TrainingState;
