use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ApiError;

/// Most stop sequences in one request, as at OpenAI.
pub(crate) const STOP_MAX: usize = 4;
/// Longest stop sequence, in bytes.
pub(crate) const STOP_BYTES_MAX: usize = 256;
/// Most answers to one prompt, as at OpenAI.
pub(crate) const CHOICES_MAX: u32 = 128;
/// Most tokens whose logits one request shifts.
pub(crate) const LOGIT_BIAS_MAX: usize = 1_024;
/// Longest salt, in bytes.
const CACHE_SALT_BYTES_MAX: usize = 256;

/// What chat and plain completions have in options.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct Options {
    /// Registered name, alias or adapter hash.
    pub(crate) model: String,
    /// 0 to 2; 0 (greedy) by default, because a receipt is easier to re-run then.
    #[serde(default)]
    pub(crate) temperature: Option<f32>,
    /// 0 to 1.
    #[serde(default)]
    pub(crate) top_p: Option<f32>,
    /// Only the k most likely tokens are drawn from. Not OpenAI's; as vLLM has it.
    #[serde(default)]
    pub(crate) top_k: Option<i64>,
    /// Tokens less likely than this part of the likeliest are not drawn. Not OpenAI's; as vLLM has it.
    #[serde(default)]
    pub(crate) min_p: Option<f32>,
    /// -2 to 2: taken from the logit of a token once it occurred.
    #[serde(default)]
    pub(crate) presence_penalty: Option<f32>,
    /// -2 to 2: taken from the logit of a token each time it occurred.
    #[serde(default)]
    pub(crate) frequency_penalty: Option<f32>,
    /// Above 0: divides positive and multiplies negative logits of tokens that occurred, in the prompt
    /// too. Not OpenAI's; as vLLM has it.
    #[serde(default)]
    pub(crate) repetition_penalty: Option<f32>,
    /// By token id, -100 to 100: added to its logit.
    #[serde(default)]
    pub(crate) logit_bias: Option<BTreeMap<String, f32>>,
    /// Number of answers.
    #[serde(default)]
    pub(crate) n: Option<u32>,
    /// Seed of the sampler.
    #[serde(default)]
    pub(crate) seed: Option<i64>,
    /// Server-sent events instead of one document.
    #[serde(default)]
    pub(crate) stream: Option<bool>,
    /// Whether a usage chunk ends the stream.
    #[serde(default)]
    pub(crate) stream_options: Option<StreamOptions>,
    /// Texts that end the answer.
    #[serde(default)]
    pub(crate) stop: Option<Stop>,
    /// Whose place in the queue the request takes; the key's by default.
    #[serde(default)]
    pub(crate) user: Option<String>,
    /// Only requests with the same find each other's cached prompts. Not OpenAI's; as vLLM has it.
    #[serde(default)]
    pub(crate) cache_salt: Option<String>,
}

/// Names of the fields of [`Options`], and those that clients send for their own records.
pub(super) const KNOWN_TO_BOTH: &[&str] = &[
    "model",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logit_bias",
    "n",
    "seed",
    "stream",
    "stream_options",
    "stop",
    "user",
    "cache_salt",
    "metadata",
    "store",
];

/// Options of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct StreamOptions {
    /// Send a last chunk with `usage`.
    #[serde(default)]
    pub(crate) include_usage: bool,
}

/// One stop text or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Stop {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Options {
    /// Stop texts.
    pub(crate) fn stops(&self) -> Vec<String> {
        match &self.stop {
            None => Vec::new(),
            Some(Stop::One(text)) => vec![text.clone()],
            Some(Stop::Many(texts)) => texts.clone(),
        }
    }

    /// Number of answers, at least 1.
    pub(crate) fn choices(&self) -> u32 {
        self.n.unwrap_or(1)
    }

    /// Whether the answer is streamed.
    pub(crate) fn streams(&self) -> bool {
        self.stream == Some(true)
    }

    /// Whether a usage chunk ends the stream.
    pub(crate) fn usage_wanted(&self) -> bool {
        self.stream_options.is_some_and(|options| options.include_usage)
    }

    /// Logit shifts by token id. Checked before.
    pub(crate) fn biases(&self) -> Vec<(u32, f32)> {
        let biases = self.logit_bias.iter().flatten();
        biases.filter_map(|(token, bias)| Some((token.parse().ok()?, *bias))).collect()
    }

    pub(super) fn check(&self) -> Result<(), ApiError> {
        in_range("temperature", self.temperature, 0.0, 2.0)?;
        in_range("top_p", self.top_p, 0.0, 1.0)?;
        in_range("min_p", self.min_p, 0.0, 1.0)?;
        in_range("presence_penalty", self.presence_penalty, -2.0, 2.0)?;
        in_range("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?;
        if self.repetition_penalty.is_some_and(|penalty| !(penalty > 0.0 && penalty <= 10.0)) {
            let message = "`repetition_penalty` must be above 0 and at most 10.";
            return Err(ApiError::invalid("repetition_penalty", message));
        }
        if self.top_k.is_some_and(|k| k < -1) {
            let message = "`top_k` must be -1 (all tokens), 0 (all tokens) or a number of tokens.";
            return Err(ApiError::invalid("top_k", message));
        }
        if !(1..=CHOICES_MAX).contains(&self.choices()) {
            let message = format!("`n` must be between 1 and {CHOICES_MAX}.");
            return Err(ApiError::invalid("n", message));
        }
        let stops = self.stops();
        let fits = |stop: &String| (1..=STOP_BYTES_MAX).contains(&stop.len());
        if stops.len() > STOP_MAX || !stops.iter().all(fits) {
            let message =
                format!("`stop` takes up to {STOP_MAX} texts of 1 to {STOP_BYTES_MAX} bytes.");
            return Err(ApiError::invalid("stop", message));
        }
        let salt = self.cache_salt.as_ref().map_or(1, String::len);
        if !(1..=CACHE_SALT_BYTES_MAX).contains(&salt) {
            let message = format!("`cache_salt` must have 1 to {CACHE_SALT_BYTES_MAX} bytes.");
            return Err(ApiError::invalid("cache_salt", message));
        }
        self.check_biases()
    }

    fn check_biases(&self) -> Result<(), ApiError> {
        let Some(biases) = &self.logit_bias else { return Ok(()) };
        if biases.len() > LOGIT_BIAS_MAX {
            let message = format!("`logit_bias` holds at most {LOGIT_BIAS_MAX} tokens.");
            return Err(ApiError::invalid("logit_bias", message));
        }
        for (token, bias) in biases {
            if token.parse::<u32>().is_err() {
                let message = format!("`{}` is no token id.", shown(token));
                return Err(ApiError::invalid("logit_bias", message));
            }
            in_range("logit_bias", Some(*bias), -100.0, 100.0)?;
        }
        Ok(())
    }
}

/// Errors: 400 naming `param`, for a number out of range or not finite.
pub(super) fn in_range(
    param: &str,
    value: Option<f32>,
    min: f32,
    max: f32,
) -> Result<(), ApiError> {
    match value {
        Some(value) if !(min..=max).contains(&value) => {
            Err(ApiError::invalid(param, format!("`{param}` must be between {min} and {max}.")))
        }
        _ => Ok(()),
    }
}

/// A JSON object, and the names in it that nobody reads.
pub(super) fn parse_object(
    body: &[u8],
    known: &[&[&str]],
) -> Result<(Value, Vec<String>), ApiError> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::invalid("body", format!("The body is not JSON: {error}")))?;
    let object = value
        .as_object()
        .ok_or_else(|| ApiError::invalid("body", "The body must be a JSON object."))?;
    let is_known = |key: &String| known.iter().any(|names| names.contains(&key.as_str()));
    let ignored = object.keys().filter(|key| !is_known(key)).cloned().collect();
    Ok((value, ignored))
}

/// Reads a body of a fixed form, naming the parameter that is wrong.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    read(&parse_object(body, &[])?.0)
}

/// Reads a type, naming the parameter that is wrong.
pub(super) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let param = match error.path().to_string() {
            path if path == "." => missing_field(&error.inner().to_string()),
            path => path,
        };
        ApiError::invalid(param, error.inner().to_string())
    })
}

/// serde reports a missing field at the root; the parameter's name stands in backquotes.
fn missing_field(message: &str) -> String {
    message.split('`').nth(1).unwrap_or("body").to_owned()
}

/// The beginning of a client's text, for a message.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}
