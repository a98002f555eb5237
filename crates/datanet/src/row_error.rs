//! Why a row was not taken.

use crate::ContributorError;

/// What is wrong with one row. [`code`](Self::code) is stable; the names of the OpenAI cookbook's data
/// check are used where they apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The line is not JSON.
    #[error("the line is not valid JSON: {reason}")]
    InvalidJson {
        /// The parser's words.
        reason: String,
    },
    /// An object names a key twice, so its meaning depends on the reader.
    #[error("{reason} in one object")]
    DuplicateKey {
        /// Which key.
        reason: String,
    },
    /// The line is not UTF-8.
    #[error("the line is not valid UTF-8; save the file as UTF-8")]
    InvalidUtf8,
    /// The line is longer than [`Limits::line_bytes`](crate::Limits::line_bytes).
    #[error("the line is longer than {limit} bytes")]
    LineTooLong {
        /// The limit.
        limit: usize,
    },
    /// The line is JSON but not an object.
    #[error("a row must be a JSON object, this one is {found}")]
    DataType {
        /// What it is.
        found: &'static str,
    },
    /// Neither a list of messages nor a prompt with its completion.
    #[error(
        "the row has neither a list of messages in {messages:?} nor {prompt:?} and {completion:?}"
    )]
    MissingMessagesList {
        /// Name of the messages field.
        messages: String,
        /// Name of the prompt field.
        prompt: String,
        /// Name of the completion field.
        completion: String,
    },
    /// Both formats in one row.
    #[error("the row has messages and also a prompt or completion; keep one of the two forms")]
    BothFormats,
    /// No prompt (or no message) before the completion.
    #[error("nothing stands before the completion: give a prompt")]
    MissingPrompt,
    /// A prompt without its completion.
    #[error("the row has no field {field:?}")]
    MissingCompletion {
        /// Name of the completion field.
        field: String,
    },
    /// A field is not a string.
    #[error("{field:?} must be a string, this one is {found}")]
    FieldType {
        /// The field.
        field: String,
        /// What it is.
        found: &'static str,
    },
    /// A text is longer than [`Limits::field_bytes`](crate::Limits::field_bytes).
    #[error("{field:?} holds more than {limit} bytes")]
    FieldTooLong {
        /// The field.
        field: String,
        /// The limit.
        limit: usize,
    },
    /// More messages than [`Limits::messages`](crate::Limits::messages).
    #[error("the row has more than {limit} messages")]
    TooManyMessages {
        /// The limit.
        limit: usize,
    },
    /// A message is not an object, or lacks `role` or `content`.
    #[error("message {message} has no {key:?}")]
    MessageMissingKey {
        /// Which message, from 1.
        message: usize,
        /// The key.
        key: &'static str,
    },
    /// A message has a key other than `role` and `content`. It would be dropped, and its meaning with it.
    #[error("message {message} has the key {key:?}; only \"role\" and \"content\" are supported")]
    MessageUnrecognizedKey {
        /// Which message, from 1.
        message: usize,
        /// The key.
        key: String,
    },
    /// A role other than system, developer, user and assistant.
    #[error(
        "message {message} has the role {role:?}; known roles: system, developer, user, assistant"
    )]
    UnrecognizedRole {
        /// Which message, from 1.
        message: usize,
        /// The role.
        role: String,
    },
    /// A text is not a string, empty, or only white space.
    #[error("{place} has no text")]
    MissingContent {
        /// The field or message.
        place: String,
    },
    /// No message of the assistant, so there is nothing to learn.
    #[error("no message has the role \"assistant\"")]
    ExampleMissingAssistantMessage,
    /// Messages stand after the last one of the assistant.
    #[error("a message stands after the assistant's last one; a row ends with the completion")]
    MessageAfterCompletion,
    /// U+0000 in a text.
    #[error("{place} holds a NUL character (U+0000)")]
    NulCharacter {
        /// The field or message.
        place: String,
    },
    /// The record is longer than [`CONTENT_BYTES_MAX`](crate::CONTENT_BYTES_MAX).
    #[error("the record holds more than {limit} bytes in canonical form")]
    RecordTooLong {
        /// The limit.
        limit: usize,
    },
    /// No contributor in the row and no default.
    #[error("the row has no contributor in {field:?} and no default contributor is set")]
    MissingContributor {
        /// Name of the contributor field.
        field: String,
    },
    /// The contributor is neither a name nor a wallet.
    #[error("bad contributor: {0}")]
    BadContributor(#[from] ContributorError),
}

impl RowError {
    /// A stable name for programs and counts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidJson { .. } => "invalid_json",
            Self::DuplicateKey { .. } => "duplicate_key",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::LineTooLong { .. } => "line_too_long",
            Self::DataType { .. } => "data_type",
            Self::MissingMessagesList { .. } => "missing_messages_list",
            Self::BothFormats => "both_formats",
            Self::MissingPrompt => "missing_prompt",
            Self::MissingCompletion { .. } => "missing_completion",
            Self::FieldType { .. } => "field_type",
            Self::FieldTooLong { .. } => "field_too_long",
            Self::TooManyMessages { .. } => "too_many_messages",
            Self::MessageMissingKey { .. } => "message_missing_key",
            Self::MessageUnrecognizedKey { .. } => "message_unrecognized_key",
            Self::UnrecognizedRole { .. } => "unrecognized_role",
            Self::MissingContent { .. } => "missing_content",
            Self::ExampleMissingAssistantMessage => "example_missing_assistant_message",
            Self::MessageAfterCompletion => "message_after_completion",
            Self::NulCharacter { .. } => "nul_character",
            Self::RecordTooLong { .. } => "record_too_long",
            Self::MissingContributor { .. } => "missing_contributor",
            Self::BadContributor(_) => "bad_contributor",
        }
    }
}
