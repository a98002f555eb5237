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
    /// Final norm `[hidden]`.
    pub norm: Vec<f32>,
    /// Output matrix [vocab, hidden] where it is not the embedding.
    pub head: Option<Vec<f32>>,
}

/// Weights of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWeights {
    /// Norm before attention `[hidden]`.
    pub attention_norm: Vec<f32>,
    /// [(query + 2 key_value) · head_dim, hidden].
    pub qkv: Vec<f32>,
    /// [hidden, query · head_dim].
    pub output: Vec<f32>,
    /// Norm before the feed-forward layer `[hidden]`.
    pub feed_forward_norm: Vec<f32>,
    /// [2 · intermediate, hidden].
    pub gate_up: Vec<f32>,
    /// [hidden, intermediate].
    pub down: Vec<f32>,
    /// Norm after attention `[hidden]`, where the model has one.
    pub attention_post_norm: Option<Vec<f32>>,
    /// Norm after the feed-forward layer `[hidden]`, where the model has one.
    pub feed_forward_post_norm: Option<Vec<f32>>,
    /// Norm of each query head `[head_dim]`, where the model has one.
    pub query_norm: Option<Vec<f32>>,
    /// Norm of each key head `[head_dim]`, where the model has one.
    pub key_norm: Option<Vec<f32>>,
    /// Biases, as long as the outputs of their matrices, where the model has them.
    pub qkv_bias: Option<Vec<f32>>,
    /// As above.
    pub output_bias: Option<Vec<f32>>,
    /// As above.
    pub gate_up_bias: Option<Vec<f32>>,
    /// As above.
    pub down_bias: Option<Vec<f32>>,
}

impl LayerWeights {
    fn norms_mut(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        let optional = [
            &mut self.attention_post_norm,
            &mut self.feed_forward_post_norm,
            &mut self.query_norm,
            &mut self.key_norm,
        ];
        [&mut self.attention_norm, &mut self.feed_forward_norm]
            .into_iter()
            .chain(optional.into_iter().flatten())
    }
}

/// A weight tensor under its Hugging Face name.
#[derive(Debug)]
pub struct Named<T> {
    /// `model.layers.0.self_attn.q_proj.weight` and so on.
    pub name: String,
    /// `[out, in]`, or `[n]` for norms.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: T,
}

impl Weights {
    /// All zero: gradients and moments have the shape of weights.
    pub fn zeros(config: &DecoderConfig) -> Self {
        let (h, f) = (config.hidden_size, config.intermediate_size);
        let heads = config.heads();
        let architecture = config.checked_architecture();
        let some = |has: bool, n: usize| has.then(|| vec![0.0; n]);
        let (biases, norms) = (architecture.biases, architecture.query_key_norms);
        let layer = LayerWeights {
            attention_norm: vec![0.0; h],
            qkv: vec![0.0; heads.row() * h],
            output: vec![0.0; h * heads.query * heads.dim],
            feed_forward_norm: vec![0.0; h],
            gate_up: vec![0.0; 2 * f * h],
            down: vec![0.0; h * f],
            attention_post_norm: some(architecture.post_norms, h),
            feed_forward_post_norm: some(architecture.post_norms, h),
            query_norm: some(norms, heads.dim),
            key_norm: some(norms, heads.dim),
            qkv_bias: some(biases.query_key_value, heads.row()),
            output_bias: some(biases.output, h),
            gate_up_bias: some(biases.feed_forward, 2 * f),
            down_bias: some(biases.feed_forward, h),
        };
        Self {
            embedding: vec![0.0; config.vocab_size * h],
            layers: vec![layer; config.num_hidden_layers],
            norm: vec![0.0; h],
            head: (!config.tie_word_embeddings).then(|| vec![0.0; config.vocab_size * h]),
        }
    }

    /// Fresh weights: deviation 0.02, the two matrices that write to the residual stream scaled by
    /// 1/√(2 · layers), norms one in effect, biases zero. One random stream per tensor.
    pub fn random(config: &DecoderConfig, seed: u64) -> Self {
        let mut weights = Self::zeros(config);
        let one = 1.0 - config.checked_architecture().norm_offset;
        let residual = 0.02 / (2.0 * config.num_hidden_layers as f32).sqrt();
        for (stream, tensor) in weights.parameters_mut().into_iter().enumerate() {
            let deviation = match tensor.kind {
                Kind::Norm => {
                    tensor.data.fill(one);
                    continue;
                }
                Kind::Bias => continue,
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
            for (data, kind) in [
                (&mut l.attention_post_norm, Kind::Norm),
                (&mut l.feed_forward_post_norm, Kind::Norm),
                (&mut l.query_norm, Kind::Norm),
                (&mut l.key_norm, Kind::Norm),
                (&mut l.qkv_bias, Kind::Bias),
                (&mut l.output_bias, Kind::Bias),
                (&mut l.gate_up_bias, Kind::Bias),
                (&mut l.down_bias, Kind::Bias),
            ] {
                all.extend(data.as_mut().map(|data| Parameter { data: &mut data[..], kind }));
            }
        }
        all.push(Parameter { data: &mut self.norm, kind: Kind::Norm });
        all.extend(self.head.as_mut().map(|h| Parameter { data: &mut h[..], kind: Kind::Matrix }));
        all
    }

    /// Adds the offset of a family's norms to their weights, for products without it.
    ///
    /// In f32 that is what other implementations compute too: y = (x · r) · (offset + w), the sum rounded first.
    pub fn fold_norm_offset(&mut self, config: &DecoderConfig) {
        let offset = config.checked_architecture().norm_offset;
        if offset == 0.0 {
            return;
        }
        let norms =
            self.layers.iter_mut().flat_map(LayerWeights::norms_mut).chain([&mut self.norm]);
        norms.flatten().for_each(|w| *w += offset);
    }

    /// Every tensor under its Hugging Face name, to be filled or read.
    ///
    /// Order: embedding; of each layer the input norm, q, k, v, o, the norm before the feed-forward layer, gate,
    /// up, down, then what the family has besides: norms after attention and feed-forward layer, of queries
    /// and of keys, biases of q, k, v, o, gate, up, down; final norm; output matrix.
    pub fn named_mut<'a>(&'a mut self, config: &DecoderConfig) -> Vec<Named<&'a mut [f32]>> {
        let (h, f, v) = (config.hidden_size, config.intermediate_size, config.vocab_size);
        let heads = config.heads();
        let (q, kv) = (heads.query * heads.dim, heads.key_value * heads.dim);
        let second_norm = if config.checked_architecture().post_norms {
            "pre_feedforward_layernorm.weight"
        } else {
            "post_attention_layernorm.weight"
        };
        let mut all = Vec::new();
        let mut push = |name: String, shape: Vec<usize>, data: &'a mut [f32]| {
            all.push(Named { name, shape, data });
        };
        push("model.embed_tokens.weight".into(), vec![v, h], &mut self.embedding);
        for (i, l) in self.layers.iter_mut().enumerate() {
            let mut part = |part: &str, shape: &[usize], data: &'a mut [f32]| {
                push(format!("model.layers.{i}.{part}"), shape.to_vec(), data);
            };
            part("input_layernorm.weight", &[h], &mut l.attention_norm);
            let (queries, rest) = l.qkv.split_at_mut(q * h);
            let (keys, values) = rest.split_at_mut(kv * h);
            part("self_attn.q_proj.weight", &[q, h], queries);
            part("self_attn.k_proj.weight", &[kv, h], keys);
            part("self_attn.v_proj.weight", &[kv, h], values);
            part("self_attn.o_proj.weight", &[h, q], &mut l.output);
            part(second_norm, &[h], &mut l.feed_forward_norm);
            let (gate, up) = l.gate_up.split_at_mut(f * h);
            part("mlp.gate_proj.weight", &[f, h], gate);
            part("mlp.up_proj.weight", &[f, h], up);
            part("mlp.down_proj.weight", &[h, f], &mut l.down);
            let mut vector = |name: &str, data: Option<&'a mut [f32]>| {
                if let Some(data) = data {
                    part(name, &[data.len()], data);
                }
            };
            vector("post_attention_layernorm.weight", l.attention_post_norm.as_deref_mut());
            vector("post_feedforward_layernorm.weight", l.feed_forward_post_norm.as_deref_mut());
            vector("self_attn.q_norm.weight", l.query_norm.as_deref_mut());
            vector("self_attn.k_norm.weight", l.key_norm.as_deref_mut());
            if let Some(bias) = &mut l.qkv_bias {
                let (queries, rest) = bias.split_at_mut(q);
                let (keys, values) = rest.split_at_mut(kv);
                vector("self_attn.q_proj.bias", Some(queries));
                vector("self_attn.k_proj.bias", Some(keys));
                vector("self_attn.v_proj.bias", Some(values));
            }
            vector("self_attn.o_proj.bias", l.output_bias.as_deref_mut());
            if let Some(bias) = &mut l.gate_up_bias {
                let (gate, up) = bias.split_at_mut(f);
                vector("mlp.gate_proj.bias", Some(gate));
                vector("mlp.up_proj.bias", Some(up));
            }
            vector("mlp.down_proj.bias", l.down_bias.as_deref_mut());
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
    /// A bias of a linear layer.
    Bias,
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
