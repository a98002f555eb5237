//! Decoder models in Hugging Face form: text to tokens and back, and what runs on the tokens.
//!
//! One decoder with the switches of several families (Llama, Qwen, Gemma) and a hand-written backward pass, its
//! low-rank adapters, its tokenizer and chat template, and the folders they are kept in. Beside it a second
//! one for answers alone, [`serving`]. Not here: training loops and recipes (`factory`), scheduling and
//! sampling (`openlora`), anything of the chain.
//!
//! ```text
//! text ─▶ ChatTemplate, Tokenizer ─▶ tokens ─▶ Decoder::step            ─▶ logits of the next token
//!                                        │     Decoder::log_likelihoods ─▶ value of an answer, fixed point
//!                                        └───▶ LoraTrainer, FullTrainer ─▶ loss and gradients
//! Hugging Face folder ─▶ DecoderConfig ─▶ Architecture ─┐
//!                     └─▶ Weights ─────────────────────┴─▶ Decoder         PEFT folder ◀──▶ Adapter
//! ```
//!
//! **Invariant:** prefill, decode, scoring and training of [`Decoder`] run one forward pass; a row's bits depend
//! on its own sequence and its own adapter only. [`serving`] gives the same bits in f32, others in its other forms.
//! **Invariant:** what is scored is the adapter as stored, in bf16; what is served too, unless eight bits are asked for.
//! **Invariant:** files are refused by size before they are read, by shape before they are used; what would
//! be loaded wrongly is refused by name.
//! **Invariant:** text from outside never becomes a control token.

#![forbid(unsafe_code)]

mod adapter;
mod adapter_files;
mod architecture;
mod chat_guard;
mod chat_template;
mod config;
mod decode_stream;
mod decoder;
mod embedding;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod inference;
mod kv_cache;
mod layer;
mod lora;
mod lora_panels;
mod panels;
mod peft_config;
mod scoring;
pub mod serving;
mod shards;
mod tensor_file;
mod text_error;
mod token_bytes;
mod tokenizer;
mod tokenizer_training;
mod training;
mod weight_files;
mod weights;

pub use adapter::Adapter;
pub use adapter_files::{ADAPTER_BYTES_MAX, ADAPTER_CONFIG_BYTES_MAX};
pub use architecture::{Activation, Architecture, Biases, Family, LayerRule, Rope, RopeScaling};
pub use chat_template::{
    ChatTemplate, Example, MESSAGES_MAX, Message, Role, TEMPLATE_BYTES_MAX,
    TOKENIZER_CONFIG_BYTES_MAX,
};
pub use config::{CONFIG_BYTES_MAX, CONTEXT_MAX, DecoderConfig, HEAD_DIM_MAX};
pub use decode_stream::DecodeStream;
pub use decoder::Decoder;
pub use error::Error;
pub use inference::Slice;
pub use kv_cache::KvCache;
pub use lora::{LoraLayout, RANK_MAX, Site};
pub use scoring::{ScoreRequest, UNITS_PER_NAT};
pub use shards::{SHARDS_MAX, WEIGHT_INDEX_BYTES_MAX, WEIGHT_INDEX_FILE};
pub use tensor_file::{HEADER_BYTES_MAX, TENSORS_MAX};
pub use text_error::TextError;
pub use tokenizer::{TEXT_BYTES_MAX, TOKENIZER_BYTES_MAX, Tokenizer, VOCABULARY_MAX};
pub use tokenizer_training::train_byte_level_bpe;
pub use training::{Batch, FullTrainer, LoraTrainer, Precision, RunStep, Target};
pub use weight_files::{WEIGHT_BYTES_MAX, WEIGHT_FILE, from_bf16, to_bf16};
pub use weights::{Kind, LayerWeights, Named, Parameter, Weights};
