//! Random work for a decoder: small models of every family, adapters, and steps over pieces of many sequences.
//!
//! Taken by path into `bench/serving` too, which compares a device with the processor on the same mixes, larger.

use openledger_model::serving::{PAGE_TOKENS, PageId, SequenceStep, ServingAdapter};
use openledger_model::{Adapter, DecoderConfig, LoraLayout};
use openledger_tensor::Random;
use serde_json::{Value, json};
use std::sync::Arc;

/// Adapters with their weights.
pub(crate) type Blend = Vec<(Arc<ServingAdapter>, f32)>;

/// Models of this shape that use every switch of the architecture between them. `scaled_from` is where the first
/// one's rotary positions are scaled from, in tokens.
pub(crate) fn families(shape: &Value, scaled_from: usize) -> Vec<(&'static str, DecoderConfig)> {
    let families = [
        (
            "Llama, scaled, biases",
            json!({
                "model_type": "llama", "attention_bias": true, "mlp_bias": true,
                "rope_scaling": {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0,
                                 "high_freq_factor": 4.0, "original_max_position_embeddings": scaled_from}
            }),
        ),
        (
            "Qwen 2, sliding",
            json!({
                "model_type": "qwen2", "use_sliding_window": true, "sliding_window": 20, "max_window_layers": 1
            }),
        ),
        ("Qwen 3", json!({"model_type": "qwen3", "tie_word_embeddings": false})),
        (
            "Gemma 2",
            json!({
                "model_type": "gemma2", "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 20.0,
                "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0, "sliding_window": 17
            }),
        ),
        (
            "Gemma 3",
            json!({
                "model_type": "gemma3_text", "hidden_activation": "gelu_pytorch_tanh",
                "query_pre_attn_scalar": 20.0, "sliding_window": 33, "sliding_window_pattern": 2,
                "rope_theta": 1e6, "rope_local_base_freq": 1e4
            }),
        ),
    ];
    let config = |(name, family): (&'static str, Value)| {
        let mut json = shape.clone();
        for (key, value) in family.as_object().expect("an object") {
            json[key] = value.clone();
        }
        let config = DecoderConfig::from_json(json.to_string().as_bytes());
        (name, config.expect("a shape that every family can have"))
    };
    families.into_iter().map(config).collect()
}

/// An adapter that changes what its base says, in all of its numbers, normal with this deviation.
pub(crate) fn random_adapter(layout: &LoraLayout, seed: u64, deviation: f32) -> Adapter {
    let mut random = Random::new(seed, 7);
    let values: Vec<f32> = (0..layout.len()).map(|_| random.normal() * deviation).collect();
    Adapter::new(layout.clone(), &values).expect("finite")
}

/// Random tokens of a vocabulary.
pub(crate) fn random_tokens(n: usize, vocabulary: usize, random: &mut Random) -> Vec<u32> {
    (0..n).map(|_| random.below(vocabulary) as u32).collect()
}

/// Sequences that are read side by side, in pieces.
#[derive(Clone, Copy)]
pub(crate) struct RandomMix<'a> {
    /// Tokens of each sequence.
    pub(crate) lengths: &'a [usize],
    /// Tokens that there are.
    pub(crate) vocabulary: usize,
    /// Longest piece of a sequence in one step.
    pub(crate) piece_tokens_max: usize,
    /// Draws all the rest.
    pub(crate) seed: u64,
}

/// A sequence on its way.
struct Sequence {
    text: Vec<u32>,
    blend: Blend,
    pages: Vec<PageId>,
    read: usize,
}

impl RandomMix<'_> {
    /// Shows `look` one step after another until all sequences are read: some of them in each, the next piece of
    /// each, with logits or without, on pages in no order. Each is of one `blend`, which is drawn at its beginning.
    /// Errors: the first of `look`.
    pub(crate) fn steps<E>(
        self,
        mut blend: impl FnMut(&mut Random) -> Blend,
        mut look: impl FnMut(&[SequenceStep<'_>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut random = Random::new(self.seed, 1);
        let pages_of = |n: usize| n.div_ceil(PAGE_TOKENS);
        let count: usize = self.lengths.iter().map(|n| pages_of(*n)).sum::<usize>() + 2;
        let mut free: Vec<PageId> = (0..count as u32).map(PageId).collect();
        random.shuffle(&mut free);
        let begun = |n: &usize| Sequence {
            text: random_tokens(*n, self.vocabulary, &mut random),
            blend: blend(&mut random),
            pages: free.split_off(free.len() - pages_of(*n)),
            read: 0,
        };
        let mut all: Vec<Sequence> = self.lengths.iter().map(begun).collect();
        while all.iter().any(|s| s.read < s.text.len()) {
            let mut pieces = Vec::new();
            for (i, s) in all.iter().enumerate() {
                let left = s.text.len() - s.read;
                if left > 0 && random.below(3) > 0 {
                    let n = 1 + random.below(left.min(self.piece_tokens_max));
                    pieces.push((i, n, random.below(4) > 0));
                }
            }
            let step = |(i, n, wanted): &(usize, usize, bool)| {
                let s = &all[*i];
                SequenceStep {
                    tokens: &s.text[s.read..s.read + n],
                    before: s.read,
                    pages: &s.pages,
                    adapters: &s.blend,
                    logits_wanted: *wanted,
                }
            };
            let steps: Vec<SequenceStep<'_>> = pieces.iter().map(step).collect();
            if !steps.is_empty() {
                look(&steps)?;
            }
            for (i, n, _) in pieces {
                all[i].read += n;
            }
        }
        Ok(())
    }
}
