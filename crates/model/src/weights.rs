//! The weights of a decoder as plain f32 matrices.

use crate::DecoderConfig;
use openledger_tensor::Random;

/// All weights. Matrices are [out, in], row-major, as Hugging Face stores them; those that share an
/// input are stacked: queries, keys, values in `qkv`, gate and up in `gate_up`.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// [vocab, hidden].
    pub embedding: Vec<f32>,
    /// One per layer.
    pub layers: Vec<LayerWeights>,
    /// Final norm [hidden].
    pub norm: Vec<f32>,
    /// Output matrix [vocab, hidden] where it is not the embedding.
    pub head: Option<Vec<f32>>,
}

/// Weights of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWeights {
    /// Norm before attention [hidden].
    pub attention_norm: Vec<f32>,
    /// [(query + 2 key_value) · head_dim, hidden].
    pub qkv: Vec<f32>,
    /// [hidden, query · head_dim].
    pub output: Vec<f32>,
    /// Norm before the feed-forward layer [hidden].
    pub feed_forward_norm: Vec<f32>,
    /// [2 · intermediate, hidden].
    pub gate_up: Vec<f32>,
    /// [hidden, intermediate].
    pub down: Vec<f32>,
}

/// A weight tensor under its Hugging Face name.
#[derive(Debug)]
pub struct Named<T> {
    /// `model.layers.0.self_attn.q_proj.weight` and so on.
    pub name: String,
    /// [out, in], or [n] for norms.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: T,
}

impl Weights {
    /// All zero: gradients and moments have the shape of weights.
    pub fn zeros(config: &DecoderConfig) -> Self {
        let (h, f) = (config.hidden_size, config.intermediate_size);
        let heads = config.heads();
        let layer = LayerWeights {
            attention_norm: vec![0.0; h],
            qkv: vec![0.0; heads.row() * h],
            output: vec![0.0; h * heads.query * heads.dim],
            feed_forward_norm: vec![0.0; h],
            gate_up: vec![0.0; 2 * f * h],
            down: vec![0.0; h * f],
        };
        Self {
            embedding: vec![0.0; config.vocab_size * h],
            layers: vec![layer; config.num_hidden_layers],
            norm: vec![0.0; h],
            head: (!config.tie_word_embeddings).then(|| vec![0.0; config.vocab_size * h]),
        }
    }

    /// Fresh weights: deviation 0.02, the two matrices that write to the residual stream scaled by
    /// 1/√(2 · layers), norms one. One random stream per tensor.
    pub fn random(config: &DecoderConfig, seed: u64) -> Self {
        let mut weights = Self::zeros(config);
        let residual = 0.02 / (2.0 * config.num_hidden_layers as f32).sqrt();
        for (stream, tensor) in weights.parameters_mut().into_iter().enumerate() {
            let deviation = match tensor.kind {
                Kind::Norm => {
                    tensor.data.fill(1.0);
                    continue;
                }
                Kind::Matrix => 0.02,
                Kind::Residual => residual,
            };
            let mut random = Random::new(seed, stream as u64);
            tensor.data.iter_mut().for_each(|x| *x = random.normal() * deviation);
        }
        weights
    }

    /// Every tensor in its stacked form, always in the same order.
    pub fn parameters_mut(&mut self) -> Vec<Parameter<&mut [f32]>> {
        let mut all = vec![Parameter { data: &mut self.embedding[..], kind: Kind::Matrix }];
        for l in &mut self.layers {
            all.push(Parameter { data: &mut l.attention_norm, kind: Kind::Norm });
            all.push(Parameter { data: &mut l.qkv, kind: Kind::Matrix });
            all.push(Parameter { data: &mut l.output, kind: Kind::Residual });
            all.push(Parameter { data: &mut l.feed_forward_norm, kind: Kind::Norm });
            all.push(Parameter { data: &mut l.gate_up, kind: Kind::Matrix });
            all.push(Parameter { data: &mut l.down, kind: Kind::Residual });
        }
        all.push(Parameter { data: &mut self.norm, kind: Kind::Norm });
        all.extend(self.head.as_mut().map(|h| Parameter { data: &mut h[..], kind: Kind::Matrix }));
        all
    }

    /// Every tensor under its Hugging Face name, to be filled or read.
    pub fn named_mut<'a>(&'a mut self, config: &DecoderConfig) -> Vec<Named<&'a mut [f32]>> {
        let (h, f, v) = (config.hidden_size, config.intermediate_size, config.vocab_size);
        let heads = config.heads();
        let (q, kv) = (heads.query * heads.dim, heads.key_value * heads.dim);
        let mut all = Vec::new();
        let mut push = |name: String, shape: Vec<usize>, data: &'a mut [f32]| {
            all.push(Named { name, shape, data });
        };
        push("model.embed_tokens.weight".into(), vec![v, h], &mut self.embedding);
        for (i, l) in self.layers.iter_mut().enumerate() {
            let name = |part: &str| format!("model.layers.{i}.{part}.weight");
            push(name("input_layernorm"), vec![h], &mut l.attention_norm);
            let (queries, rest) = l.qkv.split_at_mut(q * h);
            let (keys, values) = rest.split_at_mut(kv * h);
            push(name("self_attn.q_proj"), vec![q, h], queries);
            push(name("self_attn.k_proj"), vec![kv, h], keys);
            push(name("self_attn.v_proj"), vec![kv, h], values);
            push(name("self_attn.o_proj"), vec![h, q], &mut l.output);
            push(name("post_attention_layernorm"), vec![h], &mut l.feed_forward_norm);
            let (gate, up) = l.gate_up.split_at_mut(f * h);
            push(name("mlp.gate_proj"), vec![f, h], gate);
            push(name("mlp.up_proj"), vec![f, h], up);
            push(name("mlp.down_proj"), vec![h, f], &mut l.down);
        }
        push("model.norm.weight".into(), vec![h], &mut self.norm);
        if let Some(head) = &mut self.head {
            push("lm_head.weight".into(), vec![v, h], head);
        }
        all
    }
}

/// What a tensor is, which decides its start and its weight decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A scale of a norm.
    Norm,
    /// A matrix.
    Matrix,
    /// A matrix that writes to the residual stream.
    Residual,
}

/// A tensor in its stacked form.
#[derive(Debug)]
pub struct Parameter<T> {
    /// The elements.
    pub data: T,
    /// What it is.
    pub kind: Kind,
}
