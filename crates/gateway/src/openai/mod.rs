//! The OpenAI wire format: what official clients send and parse.

mod answer;
mod chat;
mod common;
mod completion;
mod embeddings;
mod error;

pub(crate) use answer::{Finish, Heading, Usage};
pub(crate) use chat::ChatRequest;
pub(crate) use error::ApiError;
