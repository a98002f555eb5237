//! The families, and what their files leave to the reader to know.

use crate::Error;
use serde_json::{Map, Value, json};

/// Whose layers a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Llama 1 to 3, SmolLM2.
    Llama,
    /// Qwen 2 and 2.5.
    Qwen2,
    /// Qwen 3, without experts.
    Qwen3,
    /// Gemma 2.
    Gemma2,
    /// Gemma 3, its text model.
    Gemma3,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Llama, Self::Qwen2, Self::Qwen3, Self::Gemma2, Self::Gemma3];

    /// `model_type` in `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3_text",
        }
    }

    /// The class in `architectures`.
    pub fn class(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Gemma2 => "Gemma2ForCausalLM",
            Self::Gemma3 => "Gemma3ForCausalLM",
        }
    }

    /// Errors: [`Error::Config`] naming the families that are run.
    pub(crate) fn of(model_type: &str) -> Result<Self, Error> {
        let family = Self::ALL.into_iter().find(|f| f.model_type() == model_type);
        family.ok_or_else(|| {
            let all = Self::ALL.map(Self::model_type).join(", ");
            Error::Config(format!("model_type {model_type:?} is not supported, only {all} are"))
        })
    }

    /// What Hugging Face assumes where a file of this family does not say.
    fn defaults(self) -> Value {
        match self {
            Self::Llama => json!({ "rms_norm_eps": 1e-6 }),
            Self::Qwen2 => json!({ "rms_norm_eps": 1e-6, "num_key_value_heads": 32 }),
            Self::Qwen3 => {
                json!({ "rms_norm_eps": 1e-6, "num_key_value_heads": 32, "head_dim": 128 })
            }
            Self::Gemma2 => json!({
                "vocab_size": 256_000,
                "hidden_size": 2304,
                "intermediate_size": 9216,
                "num_hidden_layers": 26,
                "num_attention_heads": 8,
                "num_key_value_heads": 4,
                "head_dim": 256,
                "hidden_activation": "gelu_pytorch_tanh",
                "max_position_embeddings": 8192,
                "rms_norm_eps": 1e-6,
                "tie_word_embeddings": true,
                "query_pre_attn_scalar": 256,
                "sliding_window": 4096,
                "final_logit_softcapping": 30.0,
                "attn_logit_softcapping": 50.0,
            }),
            Self::Gemma3 => json!({
                "vocab_size": 262_208,
                "hidden_size": 2304,
                "intermediate_size": 9216,
                "num_hidden_layers": 26,
                "num_attention_heads": 8,
                "num_key_value_heads": 4,
                "head_dim": 256,
                "hidden_activation": "gelu_pytorch_tanh",
                "max_position_embeddings": 131_072,
                "rms_norm_eps": 1e-6,
                "tie_word_embeddings": true,
                "query_pre_attn_scalar": 256,
                "sliding_window": 4096,
                "sliding_window_pattern": 6,
                "rope_theta": 1e6,
                "rope_local_base_freq": 1e4,
            }),
        }
    }
}

/// Settings that must be absent, null, false or empty, and what to do instead.
const MUST_BE_OFF: [(&str, &str); 5] = [
    ("use_bidirectional_attention", "only causal models are run"),
    ("quantization_config", "the weights are quantised; take the folder with bf16 weights"),
    ("rope_interleaved", "only the rotary layout of Hugging Face is run"),
    ("layer_replication", "layers are not replicated"),
    ("auto_map", "code from a model's folder is never run"),
];

/// Settings that a model with pictures keeps beside those of its text model.
const FROM_OUTSIDE: [&str; 4] =
    ["tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id"];

/// The settings of the text model with every default of its family filled in.
///
/// Of a `gemma3` folder the text part is taken; what it says of pictures is left out. Errors:
/// [`Error::Config`] if it is no object, or of a family that is not run.
pub(crate) fn complete(json: Value) -> Result<Value, Error> {
    let Value::Object(mut all) = json else {
        return Err(Error::Config("config.json is not an object".into()));
    };
    let outer_type = all.get("model_type").and_then(Value::as_str).unwrap_or_default().to_owned();
    if outer_type == "gemma3" {
        all = text_part(all)?;
    }
    let model_type = all.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let family = Family::of(model_type)?;
    for (name, why) in MUST_BE_OFF {
        let off = match all.get(name) {
            None | Some(Value::Null | Value::Bool(false)) => true,
            Some(Value::Object(o)) => o.is_empty(),
            Some(_) => false,
        };
        if !off {
            return Err(Error::Config(format!("{name} is set: {why}")));
        }
    }
    let partial = all.get("partial_rotary_factor").and_then(Value::as_f64);
    if partial.is_some_and(|x| x != 1.0) {
        return Err(Error::Config("partial_rotary_factor is not supported".into()));
    }
    if let Value::Object(defaults) = family.defaults() {
        for (name, value) in defaults {
            all.entry(name).or_insert(value);
        }
    }
    all.entry("architectures").or_insert_with(|| json!([family.class()]));
    Ok(Value::Object(all))
}

fn text_part(mut outer: Map<String, Value>) -> Result<Map<String, Value>, Error> {
    let Some(Value::Object(mut text)) = outer.remove("text_config") else {
        return Err(Error::Config("gemma3 without text_config".into()));
    };
    for name in FROM_OUTSIDE {
        if let (false, Some(value)) = (text.contains_key(name), outer.remove(name)) {
            text.insert(name.into(), value);
        }
    }
    text.insert("model_type".into(), Family::Gemma3.model_type().into());
    text.insert("architectures".into(), json!([Family::Gemma3.class()]));
    Ok(text)
}
