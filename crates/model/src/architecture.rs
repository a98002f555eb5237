//! What the layers of a model do: the switches between families, derived from `config.json` once.
//!
//! ```text
//! config.json ─▶ family defaults ─▶ DecoderConfig ─▶ Architecture ─▶ the one decoder
//! ```
//!
//! **Invariant:** every setting that changes a result is in here or in the shape; what neither expresses is
//! refused by name.
//! **Invariant:** the arithmetic is in f32 as Hugging Face has it for a model in f32: constants are rounded
//! to f32 once, here, so that every decoder takes the same.

mod derive;
mod family;
mod rope;

pub use family::Family;
pub(crate) use family::complete;
pub use rope::{Rope, RopeScaling};

use openledger_tensor::{AttentionRule, Heads, RopeTable, rsqrt};

/// The switches of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// Whose layers these are; decides names, no arithmetic.
    pub family: Family,
    /// Added to the weight of every norm: y = x · r · (offset + w).
    pub norm_offset: f32,
    /// Whether attention and the feed-forward layer have a norm after them too, before the result is added
    /// to the residual stream.
    pub post_norms: bool,
    /// Whether each query and key head is normalised over its elements, before it is turned.
    pub query_key_norms: bool,
    /// What the gate of the feed-forward layer goes through.
    pub activation: Activation,
    /// Embeddings are multiplied by it.
    pub embedding_scale: f32,
    /// Scores of attention are multiplied by it.
    pub query_scale: f32,
    /// Scores become cap · tanh(score / cap), before the softmax.
    pub attention_soft_cap: Option<f32>,
    /// Logits become cap · tanh(logit / cap).
    pub logit_soft_cap: Option<f32>,
    /// Which linear layers have a bias. It is added to the product with the base, before any adapter.
    pub biases: Biases,
    /// The rotary embeddings that layers choose from; at least one.
    pub ropes: Vec<Rope>,
    /// One per layer.
    pub layers: Vec<LayerRule>,
}

/// What one layer does differently from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerRule {
    /// Positions a token attends to, its own included; all before it where absent.
    pub window: Option<usize>,
    /// Which of [`Architecture::ropes`] turns its queries and keys.
    pub rope: usize,
}

/// The activation of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x / (1 + e^−x).
    Silu,
    /// x/2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³))).
    GeluTanh,
}

/// Linear layers with a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Biases {
    /// Queries, keys and values.
    pub query_key_value: bool,
    /// The output of attention.
    pub output: bool,
    /// Gate, up and down.
    pub feed_forward: bool,
}

impl Architecture {
    /// Whether it is that of the first Llama, which the hash of a base takes for granted.
    pub fn is_plain(&self, heads: Heads) -> bool {
        let plain = LayerRule { window: None, rope: 0 };
        self.norm_offset == 0.0
            && !self.post_norms
            && !self.query_key_norms
            && self.activation == Activation::Silu
            && self.embedding_scale == 1.0
            && self.query_scale == rsqrt(heads.dim as f32)
            && self.attention_soft_cap.is_none()
            && self.logit_soft_cap.is_none()
            && self.biases == Biases::default()
            && self.ropes.iter().all(|rope| rope.scaling == RopeScaling::None)
            && self.layers.iter().all(|layer| *layer == plain)
    }

    /// How layer `layer` attends.
    pub fn attention(&self, layer: usize, heads: Heads) -> AttentionRule {
        AttentionRule {
            heads,
            scale: self.query_scale,
            soft_cap: self.attention_soft_cap,
            window: self.layers[layer].window,
        }
    }

    /// The tables of [`Self::ropes`], for `positions` positions of heads of `head_dim`.
    pub fn rope_tables(&self, positions: usize, head_dim: usize) -> Vec<RopeTable> {
        self.ropes
            .iter()
            .map(|rope| RopeTable::from_frequencies(positions, &rope.frequencies(head_dim)))
            .collect()
    }

    /// Every setting as bytes, for the hash of a base: integers as u64, floats as f32, little-endian, zero
    /// where a setting is absent; of each rotary embedding its frequencies.
    pub(crate) fn hash_bytes(&self, heads: Heads) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut float = |x: f32| bytes.extend(x.to_le_bytes());
        for x in [
            self.norm_offset,
            self.embedding_scale,
            self.query_scale,
            self.attention_soft_cap.unwrap_or(0.0),
            self.logit_soft_cap.unwrap_or(0.0),
        ] {
            float(x);
        }
        for rope in &self.ropes {
            rope.frequencies(heads.dim).into_iter().for_each(&mut float);
        }
        let mut integer = |x: usize| bytes.extend((x as u64).to_le_bytes());
        for x in [
            usize::from(self.post_norms),
            usize::from(self.query_key_norms),
            usize::from(self.activation == Activation::GeluTanh),
            usize::from(self.biases.query_key_value),
            usize::from(self.biases.output),
            usize::from(self.biases.feed_forward),
            self.ropes.len(),
        ] {
            integer(x);
        }
        for layer in &self.layers {
            integer(layer.window.unwrap_or(0));
            integer(layer.rope);
        }
        bytes
    }
}
