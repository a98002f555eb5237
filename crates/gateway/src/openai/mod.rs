//! The OpenAI wire format: what official clients send and parse.

mod chat;
mod error;

pub use chat::{ChatRequest, Content, ContentPart, Message, Stop, StreamOptions};
pub use error::ApiError;
