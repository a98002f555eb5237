//! The hand-written backward pass against candle's automatic differentiation, which runs in f64.

use crate::tiny;
use candle_core::{D, DType, Device, Result, Tensor, Var};
use openledger_model::{Batch, Decoder, DecoderConfig, FullTrainer};
use openledger_model::{LoraLayout, LoraTrainer, Site, Weights};
use std::collections::BTreeMap;

/// Largest difference of a gradient, relative to the largest gradient of its tensor: f32 against f64.
const TOLERANCE: f64 = 1e-4;

const RANK: usize = 4;

/// alpha / rank of the adapter.
const SCALE: f64 = 2.0;

/// (tokens, start of the answer, weight in the loss) of each sequence.
const SEQUENCES: [(usize, usize, f32); 2] = [(9, 4, 0.125), (10, 1, 0.25)];

type Vars = BTreeMap<String, Var>;

fn var(data: &[f32], shape: &[usize]) -> Var {
    let data: Vec<f64> = data.iter().map(|x| f64::from(*x)).collect();
    Var::from_vec(data, shape, &Device::Cpu).expect("as many elements as the shape has")
}

fn sequences() -> Vec<(Vec<u32>, usize, f32)> {
    let all = SEQUENCES.iter().zip(1..);
    all.map(|(&(n, start, weight), seed)| (tiny::tokens(n, seed), start, weight)).collect()
}

fn batch(config: &DecoderConfig) -> Batch {
    let mut batch = Batch::default();
    for (tokens, start, weight) in sequences() {
        batch.push(config, &tokens, start, weight).expect("fits");
    }
    batch
}

/// The weights under their Hugging Face names.
fn base_vars(config: &DecoderConfig, mut weights: Weights) -> Vars {
    let named = weights.named_mut(config).into_iter();
    named.map(|t| (t.name, var(t.data, &t.shape))).collect()
}

/// Name, shape and elements of A [rank, in] and Bᵀ [rank, out], in the order of [`LoraLayout`].
fn adapter_parts(config: &DecoderConfig, values: &[f32]) -> Vec<(String, [usize; 2], Vec<f32>)> {
    let (h, f, heads) = (config.hidden_size, config.intermediate_size, config.heads());
    let (q, kv) = (heads.query * heads.dim, heads.key_value * heads.dim);
    let groups: [(usize, &[(&str, usize)]); 4] = [
        (h, &[("self_attn.q_proj", q), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)]),
        (q, &[("self_attn.o_proj", h)]),
        (h, &[("mlp.gate_proj", f), ("mlp.up_proj", f)]),
        (f, &[("mlp.down_proj", h)]),
    ];
    let (mut rest, mut all) = (values, Vec::new());
    for layer in 0..config.num_hidden_layers {
        for (inputs, sites) in groups {
            let a = sites.iter().map(|(site, _)| (site, "A", inputs));
            let b = sites.iter().map(|(site, outputs)| (site, "B", *outputs));
            for (site, part, columns) in a.chain(b) {
                let (data, after) = rest.split_at(RANK * columns);
                all.push((
                    format!("model.layers.{layer}.{site}.lora_{part}"),
                    [RANK, columns],
                    data.to_vec(),
                ));
                rest = after;
            }
        }
    }
    assert!(rest.is_empty());
    all
}

/// Σ −weight · ln p, from candle's own operations.
struct Reference<'a> {
    config: &'a DecoderConfig,
    vars: &'a Vars,
}

impl Reference<'_> {
    fn loss(&self) -> Result<Tensor> {
        let mut total = Tensor::zeros((), DType::F64, &Device::Cpu)?;
        for (tokens, start, weight) in sequences() {
            let logits = self.logits(&tokens[..tokens.len() - 1])?;
            let sums = logits.exp()?.sum_keepdim(D::Minus1)?.log()?;
            let n = tokens.len() - start;
            let next = Tensor::from_vec(tokens[1..].to_vec(), (tokens.len() - 1, 1), &Device::Cpu)?;
            let ln_p = (logits.gather(&next, 1)? - sums)?.narrow(0, start - 1, n)?;
            total = (total - (ln_p.sum_all()? * f64::from(weight))?)?;
        }
        Ok(total)
    }

    fn logits(&self, tokens: &[u32]) -> Result<Tensor> {
        let embedding = self.vars["model.embed_tokens.weight"].as_tensor();
        let mut x = embedding.index_select(&Tensor::new(tokens, &Device::Cpu)?, 0)?;
        for i in 0..self.config.num_hidden_layers {
            let layer = format!("model.layers.{i}");
            let normed = self.norm(&x, &format!("{layer}.input_layernorm"))?;
            x = (x + self.attention(&normed, &format!("{layer}.self_attn"))?)?;
            let normed = self.norm(&x, &format!("{layer}.post_attention_layernorm"))?;
            let gate = self.linear(&normed, &format!("{layer}.mlp.gate_proj"))?.silu()?;
            let inner = (gate * self.linear(&normed, &format!("{layer}.mlp.up_proj"))?)?;
            x = (x + self.linear(&inner, &format!("{layer}.mlp.down_proj"))?)?;
        }
        self.norm(&x, "model.norm")?.matmul(&embedding.t()?)
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
        let size = (mean + self.config.rms_norm_eps)?.sqrt()?;
        x.broadcast_div(&size)?.broadcast_mul(&self.vars[&format!("{name}.weight")])
    }

    fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let y = x.matmul(&self.vars[&format!("{name}.weight")].t()?)?;
        let part = |part| self.vars.get(&format!("{name}.lora_{part}"));
        let (Some(a), Some(b_transposed)) = (part("A"), part("B")) else { return Ok(y) };
        y + (x.matmul(&a.t()?)?.matmul(b_transposed)? * SCALE)?
    }

    fn attention(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let (heads, n) = (self.config.heads(), x.dim(0)?);
        let project = |part: &str| self.linear(x, &format!("{name}.{part}_proj"));
        let (q, k, v) = (project("q")?, project("k")?, project("v")?);
        let mask = (0..n * n).map(|i| if i % n > i / n { -1e9 } else { 0.0 }).collect();
        let mask = Tensor::from_vec(mask, (n, n), &Device::Cpu)?;
        let mut outputs = Vec::new();
        for head in 0..heads.query {
            let shared = head / (heads.query / heads.key_value);
            let of = |x: &Tensor, head: usize| x.narrow(1, head * heads.dim, heads.dim);
            let (q, k) = (self.rotated(&of(&q, head)?)?, self.rotated(&of(&k, shared)?)?);
            let scores = ((q.matmul(&k.t()?)? / (heads.dim as f64).sqrt())? + &mask)?.exp()?;
            let shares = scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)?;
            outputs.push(shares.matmul(&of(&v, shared)?.contiguous()?)?);
        }
        self.linear(&Tensor::cat(&outputs, 1)?, &format!("{name}.o_proj"))
    }

    /// Rotates element i with element i + dim/2, by position · theta^(−2i / dim).
    fn rotated(&self, x: &Tensor) -> Result<Tensor> {
        let (n, dim) = x.dims2()?;
        let half = dim / 2;
        let angle = |i: usize| {
            (i / half) as f64 * self.config.rope_theta.powf(-2.0 * (i % half) as f64 / dim as f64)
        };
        let angles = (0..n * half).map(angle).collect();
        let angles = Tensor::from_vec(angles, (n, half), &Device::Cpu)?;
        let (cos, sin) = (angles.cos()?, angles.sin()?);
        let (low, high) = (x.narrow(1, 0, half)?, x.narrow(1, half, half)?);
        let rotated_low = ((&low * &cos)? - (&high * &sin)?)?;
        Tensor::cat(&[rotated_low, ((&high * &cos)? + (&low * &sin)?)?], 1)
    }
}

/// Compares the loss and the gradient of each named tensor; gives the largest relative difference.
fn compare(config: &DecoderConfig, vars: &Vars, loss: f64, ours: &[(String, Vec<f32>)]) -> f64 {
    let theirs = Reference { config, vars }.loss().expect("shapes fit");
    let their_loss: f64 = theirs.to_scalar().expect("a number");
    assert!((loss - their_loss).abs() < 1e-5 * their_loss, "loss {loss}, candle {their_loss}");
    let gradients = theirs.backward().expect("every operation has a derivative");
    let mut worst = 0.0f64;
    for (name, ours) in ours {
        let theirs = gradients.get(&vars[name]).expect("reached").flatten_all().expect("flat");
        let theirs: Vec<f64> = theirs.to_vec1().expect("f64");
        assert_eq!(ours.len(), theirs.len(), "{name}");
        let largest = theirs.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        assert!(largest > 0.0, "{name} has no gradient");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let difference = (f64::from(*ours) - theirs).abs() / largest;
            assert!(difference <= TOLERANCE, "{name}: {ours}, candle {theirs}");
            worst = worst.max(difference);
        }
    }
    worst
}

#[test]
fn the_gradients_of_all_weights_are_those_of_candle() {
    let config = tiny::config();
    let weights = tiny::weights(1);
    let mut gradients = Weights::zeros(&config);
    let loss = FullTrainer::new(&config).expect("a plain llama").loss_and_gradients(
        &weights,
        &batch(&config),
        &mut gradients,
    );
    let named = gradients.named_mut(&config).into_iter();
    let ours: Vec<_> = named.map(|t| (t.name, t.data.to_vec())).collect();
    let vars = base_vars(&config, weights);
    assert_eq!(ours.len(), vars.len());
    let worst = compare(&config, &vars, loss, &ours);
    eprintln!("all weights: largest relative difference {worst:.2e}");
}

#[test]
fn the_gradients_of_an_adapter_are_those_of_candle() {
    let config = tiny::config();
    let layout = LoraLayout::new(&config, RANK, SCALE as f32 * RANK as f32, &Site::ALL);
    let mut random = openledger_tensor::Random::new(2, 7);
    let values: Vec<f32> = (0..layout.len()).map(|_| random.normal() * 0.2).collect();
    let base = Decoder::new(config.clone(), tiny::weights(2), true);
    let mut gradients = vec![0.0; layout.len()];
    let loss = LoraTrainer::new(&base, &layout).expect("loaded for training").loss_and_gradients(
        &values,
        &batch(&config),
        &mut gradients,
    );

    let mut vars = base_vars(&config, tiny::weights(2));
    for (name, shape, data) in adapter_parts(&config, &values) {
        vars.insert(name, var(&data, &shape));
    }
    let parts = adapter_parts(&config, &gradients).into_iter();
    let ours: Vec<_> = parts.map(|(name, _, data)| (name, data)).collect();
    let worst = compare(&config, &vars, loss, &ours);
    eprintln!("adapter: largest relative difference {worst:.2e}");
}
