//! What can go wrong between text and tokens.

/// Failures of the tokenizer and the chat template.
///
/// None is worth a retry: the file or the request has to change.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// A tokenizer or template file could not be read.
    #[error("cannot read {path}: {source}; a Hugging Face model folder holds this file")]
    Read {
        /// The file.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file or text is larger than its named limit.
    #[error("{what} has {bytes} bytes, the limit is {bytes_max}")]
    TooLarge {
        /// What was measured.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// `tokenizer.json` has more tokens than we accept.
    #[error("the tokenizer has {tokens} tokens, the limit is {tokens_max}")]
    VocabularyTooLarge {
        /// Highest token id plus one.
        tokens: usize,
        /// The limit.
        tokens_max: usize,
    },
    /// The tokenizer library refused a file, a text or a token.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A token the model needs is not in the tokenizer.
    #[error("the tokenizer has no token {token:?}; {hint}")]
    MissingToken {
        /// The token as text.
        token: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// Plain text came out as a control token, so the tokenizer cannot keep the two apart.
    #[error(
        "plain text was encoded to the control token {id}; this tokenizer is not safe for user text"
    )]
    ControlTokenFromText {
        /// The token.
        id: u32,
    },
    /// A JSON file beside the tokenizer does not have the expected form.
    #[error("{path}: {reason}")]
    BadConfig {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The model folder has no chat template.
    #[error(
        "the model has no chat template (tokenizer_config.json: chat_template, or chat_template.jinja); \
         use plain completions or add a template"
    )]
    NoChatTemplate,
    /// The chat template could not be parsed or rendered.
    #[error("chat template: {0}")]
    Template(String),
}
