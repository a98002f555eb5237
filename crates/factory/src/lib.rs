//! Trains models: adapters on contributions, and the small base model that ships with the project.

mod adapter_training;
mod base_folder;
mod base_recipe;
mod corpus;
mod corpus_error;
mod corpus_forms;
mod design_training;
mod pretrain;
mod recipe;
mod train_error;

pub use adapter_training::{Example, TrainProgress, Trained, train};
pub use base_folder::{read_chat_template, write_tokenizer_files};
pub use base_recipe::{BaseRecipe, Form, ShapeRecipe, Source, TokenizerRecipe, TrainingRecipe};
pub use corpus::{Corpus, CorpusTokens, SourceReport};
pub use corpus_error::CorpusError;
pub use corpus_forms::Document;
pub use design_training::{DesignProgress, train_design};
pub use pretrain::{Pretrain, PretrainProgress, Proceed, pretrain};
pub use recipe::{BATCH_SIZE_MAX, Recipe, STEPS_MAX};
pub use train_error::TrainError;
