//! Decoder models in Hugging Face form: text to tokens and back, and what runs on the tokens.

mod chat_guard;
mod chat_template;
mod decode_stream;
mod text_error;
mod tokenizer;
mod tokenizer_training;

pub use chat_template::{
    ChatTemplate, Example, MESSAGES_MAX, Message, Role, TEMPLATE_BYTES_MAX,
    TOKENIZER_CONFIG_BYTES_MAX,
};
pub use decode_stream::DecodeStream;
pub use text_error::TextError;
pub use tokenizer::{TEXT_BYTES_MAX, TOKENIZER_BYTES_MAX, Tokenizer, VOCABULARY_MAX};
pub use tokenizer_training::train_byte_level_bpe;
