//! A decoder ready to run.

use crate::panels::Panels;
use crate::{Architecture, DecoderConfig, Error, Weights};
use openledger_tensor::RopeTable;
use sha2::{Digest, Sha256};
use std::path::Path;

/// A base model: frozen weights, packed for products.
#[derive(Debug)]
pub struct Decoder {
    pub(crate) config: DecoderConfig,
    pub(crate) architecture: Architecture,
    /// One per rotary embedding of the architecture.
    pub(crate) ropes: Vec<RopeTable>,
    /// Norms, their offset added, biases, and embedding; the matrices live in `panels` only.
    pub(crate) weights: Weights,
    pub(crate) panels: Panels,
    pub(crate) for_training: bool,
    hash: [u8; 32],
}

impl Decoder {
    /// Loads a Hugging Face folder for inference.
    ///
    /// Errors: a file over its limit, a model this decoder does not run, a missing tensor, a wrong shape,
    /// a value that is not finite.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let (config, weights) = Weights::load(dir)?;
        Ok(Self::new(config, weights, false))
    }

    /// As [`Self::load`], with what training adapters needs besides: about a third more memory.
    pub fn load_for_training(dir: &Path) -> Result<Self, Error> {
        let (config, weights) = Weights::load(dir)?;
        Ok(Self::new(config, weights, true))
    }

    /// As [`Self::load_for_training`], with the matrices of the layers in four bits (QLoRA): about a
    /// fourteenth of their memory. The result is another base, with a hash of its own; an adapter that was
    /// trained on it belongs to it.
    pub fn load_four_bit(dir: &Path) -> Result<Self, Error> {
        let (config, weights) = Weights::load(dir)?;
        Ok(Self::four_bit(config, weights, true))
    }

    /// From weights in memory.
    pub fn new(config: DecoderConfig, weights: Weights, for_training: bool) -> Self {
        let panels = Panels::new(&config, &weights, for_training);
        Self::from_panels(config, weights, panels, for_training)
    }

    /// From weights in memory, with the matrices of the layers in four bits, in groups of 32 weights with
    /// one bf16 scale. Everything it computes is exact for the weights that the codes stand for, and so is
    /// its hash: it equals to the bit a base made of these weights.
    pub fn four_bit(config: DecoderConfig, mut weights: Weights, for_training: bool) -> Self {
        let panels = Panels::four_bit(&config, &mut weights, for_training);
        Self::from_panels(config, weights, panels, for_training)
    }

    fn from_panels(
        config: DecoderConfig,
        mut weights: Weights,
        panels: Panels,
        for_training: bool,
    ) -> Self {
        let hash = hash(&config, &mut weights);
        for layer in &mut weights.layers {
            for matrix in [&mut layer.qkv, &mut layer.output, &mut layer.gate_up, &mut layer.down] {
                *matrix = Vec::new();
            }
        }
        weights.head = None;
        weights.fold_norm_offset(&config);
        let architecture = config.checked_architecture();
        let ropes = rope_tables(&config, &architecture);
        Self { architecture, ropes, config, weights, panels, for_training, hash }
    }

    /// Shape of the model.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The switches of its layers.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Memory of the matrices.
    pub fn matrix_bytes(&self) -> usize {
        self.panels.bytes()
    }

    /// Identity of the model: SHA-256 over everything that decides its results.
    ///
    /// Over, in this order, integers as u64 and all little-endian: the text `openledger base 1`; hidden
    /// size, intermediate size, layers, query heads, key-value heads, head size, vocabulary; norm epsilon
    /// and RoPE base as f64; where its layers are not those of the first Llama, the text `openledger
    /// architecture 1` and their switches (below); then each tensor's name, a zero byte, and its elements as
    /// f32, in the order embedding, layers (input norm, q, k, v, o, second norm, gate, up, down, then what
    /// the family has besides, see [`Weights::named_mut`]), final norm, output matrix where it is its own.
    ///
    /// The switches: as f32 the offset of the norms, the factors of embeddings and scores, the caps of
    /// scores and logits, zero for none, and the frequencies of each rotary embedding; then whether there
    /// are norms after attention and feed-forward layer, norms of queries and keys, GeGLU, biases of q k v, of
    /// o, of the feed-forward layer; the number of rotary embeddings; for each layer its window, zero for
    /// none, and which rotary embedding it takes.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }
}

fn hash(config: &DecoderConfig, weights: &mut Weights) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"openledger base 1");
    let heads = config.heads();
    for number in [
        config.hidden_size,
        config.intermediate_size,
        config.num_hidden_layers,
        heads.query,
        heads.key_value,
        heads.dim,
        config.vocab_size,
    ] {
        hash.update((number as u64).to_le_bytes());
    }
    hash.update(config.rms_norm_eps.to_le_bytes());
    hash.update(config.rope_theta.to_le_bytes());
    let architecture = config.checked_architecture();
    if !architecture.is_plain(heads) {
        hash.update(b"openledger architecture 1");
        hash.update(architecture.hash_bytes(heads));
    }
    for tensor in weights.named_mut(config) {
        hash.update(tensor.name.as_bytes());
        hash.update([0]);
        let mut bytes = Vec::with_capacity(1 << 16);
        for part in tensor.data.chunks(1 << 14) {
            bytes.clear();
            bytes.extend(part.iter().flat_map(|x| x.to_le_bytes()));
            hash.update(&bytes);
        }
    }
    hash.finalize().into()
}

pub(crate) fn rope_tables(config: &DecoderConfig, architecture: &Architecture) -> Vec<RopeTable> {
    architecture.rope_tables(config.max_position_embeddings, config.heads().dim)
}
