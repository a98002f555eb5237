//! What a decoder looks like: the parts of `config.json` that decide its arithmetic.

use crate::Error;
use crate::architecture::{Architecture, Family, complete};
use openledger_tensor::Heads;
use serde::{Deserialize, Serialize};

/// Largest `config.json` that is read.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Longest context of a model; bounds the table of rotary angles.
pub const CONTEXT_MAX: usize = 1 << 17;

/// Largest head; bounds the same table.
pub const HEAD_DIM_MAX: usize = 512;

/// Shape and settings of a decoder, in the field names of Hugging Face. What they mean for a layer is in its
/// [`Architecture`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecoderConfig {
    /// `LlamaForCausalLM` and so on.
    #[serde(default = "llama_architectures")]
    pub architectures: Vec<String>,
    /// `llama`, `qwen2`, `qwen3`, `gemma2` or `gemma3_text`.
    pub model_type: String,
    /// Elements of a token's state.
    pub hidden_size: usize,
    /// Elements between the two halves of the feed-forward layer.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    #[serde(default)]
    pub num_key_value_heads: Option<usize>,
    /// Elements of a head; `hidden_size / num_attention_heads` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    /// Added to the mean square in the norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    #[serde(default = "default_theta")]
    pub rope_theta: f64,
    /// Whether the output matrix is the embedding.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// `silu`.
    #[serde(default = "default_activation")]
    pub hidden_act: String,
    /// Token that begins a text, where there is one.
    #[serde(default)]
    pub bos_token_id: Option<serde_json::Value>,
    /// Token or tokens that end an answer.
    #[serde(default)]
    pub eos_token_id: Option<serde_json::Value>,
    /// Token that fills up a batch elsewhere; not used here.
    #[serde(default)]
    pub pad_token_id: Option<serde_json::Value>,
    /// Whether queries, keys, values and the output of attention have a bias.
    #[serde(default)]
    pub attention_bias: bool,
    /// Whether gate, up and down have a bias; Llama alone knows it.
    #[serde(default)]
    pub mlp_bias: bool,
    /// How the rotary embedding is stretched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<serde_json::Value>,
    /// Newer spelling of the rotary settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_parameters: Option<serde_json::Value>,
    /// Gemma's name for the activation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden_activation: Option<String>,
    /// Gemma: scores are divided by its square root, instead of by that of the head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_pre_attn_scalar: Option<f64>,
    /// Gemma 2: cap of attention's scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attn_logit_softcapping: Option<f64>,
    /// Gemma 2: cap of the logits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_logit_softcapping: Option<f64>,
    /// Positions that sliding layers attend to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<usize>,
    /// Qwen: whether any layer slides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_sliding_window: Option<bool>,
    /// Qwen: the first layer that slides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_window_layers: Option<usize>,
    /// Gemma 3: every so many layers one does not slide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sliding_window_pattern: Option<usize>,
    /// `full_attention` or `sliding_attention` for every layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_types: Option<Vec<String>>,
    /// Gemma 3: base of the rotary frequencies in sliding layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_local_base_freq: Option<f64>,
    /// Type of the stored weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torch_dtype: Option<String>,
}

fn llama_architectures() -> Vec<String> {
    vec![Family::Llama.class().into()]
}

fn default_theta() -> f64 {
    10_000.0
}

fn default_activation() -> String {
    "silu".into()
}

impl DecoderConfig {
    /// A config of the given shape with tied embeddings, RoPE base 10,000 and norm epsilon 1e-5.
    pub fn llama(
        hidden_size: usize,
        num_hidden_layers: usize,
        heads: (usize, usize),
        intermediate_size: usize,
        vocab_size: usize,
        context: usize,
    ) -> Self {
        Self {
            architectures: llama_architectures(),
            model_type: Family::Llama.model_type().into(),
            hidden_size,
            intermediate_size,
            num_hidden_layers,
            num_attention_heads: heads.0,
            num_key_value_heads: Some(heads.1),
            head_dim: None,
            vocab_size,
            max_position_embeddings: context,
            rms_norm_eps: 1e-5,
            rope_theta: default_theta(),
            tie_word_embeddings: true,
            hidden_act: default_activation(),
            bos_token_id: None,
            eos_token_id: Some(0.into()),
            pad_token_id: Some(0.into()),
            attention_bias: false,
            mlp_bias: false,
            rope_scaling: None,
            rope_parameters: None,
            hidden_activation: None,
            query_pre_attn_scalar: None,
            attn_logit_softcapping: None,
            final_logit_softcapping: None,
            sliding_window: None,
            use_sliding_window: None,
            max_window_layers: None,
            sliding_window_pattern: None,
            layer_types: None,
            rope_local_base_freq: None,
            torch_dtype: Some("bfloat16".into()),
        }
    }

    /// The small base model of this project: 5.8 million parameters.
    pub fn nano() -> Self {
        Self::llama(256, 6, (4, 4), 688, 4096, 512)
    }

    /// Reads and checks `config.json`.
    ///
    /// Errors: [`Error::Config`] naming what this decoder cannot run.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        let wrong = |e: serde_json::Error| Error::Config(e.to_string());
        let json = complete(serde_json::from_slice(json).map_err(wrong)?)?;
        let mut config: Self = serde_json::from_value(json).map_err(wrong)?;
        let parameters = config.rope_parameters.as_ref();
        let global = parameters.map(|p| p.get("full_attention").unwrap_or(p));
        if let Some(theta) = global.and_then(|p| p.get("rope_theta")) {
            config.rope_theta =
                theta.as_f64().ok_or_else(|| Error::Config("rope_theta is not a number".into()))?;
        }
        config.check()?;
        Ok(config)
    }

    /// Heads of every layer.
    pub fn heads(&self) -> Heads {
        let query = self.num_attention_heads;
        Heads {
            query,
            key_value: self.num_key_value_heads.unwrap_or(query),
            dim: self.head_dim.unwrap_or(self.hidden_size / query.max(1)),
        }
    }

    /// The switches of its layers. Derived again at each call: keep it.
    ///
    /// Errors: [`Error::Config`] naming a setting that this decoder does not run. A config from
    /// [`Self::from_json`] or [`Self::llama`] gives none.
    pub fn architecture(&self) -> Result<Architecture, Error> {
        Architecture::of(self)
    }

    /// As [`Self::architecture`], of a config that was checked when it was read.
    pub(crate) fn checked_architecture(&self) -> Architecture {
        Architecture::of(self).expect("the config was checked when it was read")
    }

    /// Weights in all.
    pub fn parameters(&self) -> u64 {
        let (h, f, v) =
            (self.hidden_size as u64, self.intermediate_size as u64, self.vocab_size as u64);
        let heads = self.heads();
        let attention = (heads.row() + heads.query * heads.dim) as u64 * h;
        let architecture = self.checked_architecture();
        let mut layer = attention + 3 * f * h + 2 * h;
        if architecture.post_norms {
            layer += 2 * h;
        }
        if architecture.query_key_norms {
            layer += 2 * heads.dim as u64;
        }
        let biases = architecture.biases;
        layer += [
            (biases.query_key_value, heads.row() as u64),
            (biases.output, h),
            (biases.feed_forward, 2 * f + h),
        ]
        .into_iter()
        .map(|(has, n)| if has { n } else { 0 })
        .sum::<u64>();
        let tables = if self.tie_word_embeddings { 1 } else { 2 };
        tables * v * h + self.num_hidden_layers as u64 * layer + h
    }

    fn check(&self) -> Result<(), Error> {
        let refuse = |why: String| Err(Error::Config(why));
        let limits = [
            ("hidden_size", self.hidden_size, 1 << 14),
            ("intermediate_size", self.intermediate_size, 1 << 16),
            ("num_hidden_layers", self.num_hidden_layers, 256),
            ("num_attention_heads", self.num_attention_heads, 256),
            ("vocab_size", self.vocab_size, 1 << 20),
            ("max_position_embeddings", self.max_position_embeddings, CONTEXT_MAX),
        ];
        for (name, value, max) in limits {
            if value == 0 || value > max {
                return refuse(format!("{name} is {value}, must be 1 to {max}"));
            }
        }
        let heads = self.heads();
        if heads.key_value == 0 || !heads.query.is_multiple_of(heads.key_value) {
            return refuse("num_key_value_heads does not divide num_attention_heads".into());
        }
        if heads.dim == 0 || heads.dim > HEAD_DIM_MAX || !heads.dim.is_multiple_of(2) {
            let dim = heads.dim;
            return refuse(format!("head_dim is {dim}, must be even and at most {HEAD_DIM_MAX}"));
        }
        if self.head_dim.is_none() && !self.hidden_size.is_multiple_of(heads.query) {
            return refuse("num_attention_heads does not divide hidden_size".into());
        }
        if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0) {
            return refuse(format!("rms_norm_eps is {}", self.rms_norm_eps));
        }
        Architecture::of(self).map(drop)
    }
}
