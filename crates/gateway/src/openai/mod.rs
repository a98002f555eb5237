//! The OpenAI wire format: what official clients send and parse.

mod answer;
mod chat;
mod completion;
mod embeddings;
mod error;
mod options;

pub(crate) use answer::{Choice, Finish, Form, Heading, Scored, TokenLogprob, Usage};
pub(crate) use chat::{ChatRequest, ResponseFormat};
pub(crate) use completion::{CompletionRequest, PromptRef};
pub(crate) use embeddings::EmbeddingsRequest;
pub(crate) use error::ApiError;
pub(crate) use options::{Options, parse};
