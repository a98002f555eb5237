//! The whole state of a run between two steps.
//!
//! Layout: 32 bytes digest of the run, u64 step, two f64 (powers of the betas), then every f32 of the
//! weights, first moments and second moments, little-endian; 32 bytes SHA-256 of all that.

use super::Pretrain;
use crate::durable_file::write_durably;
use crate::train_error::TrainError;
use openledger_model::{DecoderConfig, Weights};
use sha2::{Digest, Sha256};
use std::path::Path;

pub(super) struct Checkpoint {
    digest: [u8; 32],
    pub(super) step: usize,
    pub(super) beta1_power: f64,
    pub(super) beta2_power: f64,
    pub(super) weights: Weights,
    pub(super) first: Weights,
    pub(super) second: Weights,
}

/// What the run is a function of.
pub(super) fn digest(run: &Pretrain<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"openledger pretrain 1");
    hash.update(serde_json::to_vec(run.config).expect("a config is plain data"));
    hash.update(serde_json::to_vec(run.training).expect("a recipe is plain data"));
    hash.update(run.seed.to_le_bytes());
    for token in run.tokens {
        hash.update(token.to_le_bytes());
    }
    hash.finalize().into()
}

impl Checkpoint {
    pub(super) fn start(config: &DecoderConfig, seed: u64, digest: [u8; 32]) -> Self {
        Self {
            digest,
            step: 0,
            beta1_power: 1.0,
            beta2_power: 1.0,
            weights: Weights::random(config, seed),
            first: Weights::zeros(config),
            second: Weights::zeros(config),
        }
    }

    pub(super) fn write(&mut self, path: &Path, config: &DecoderConfig) -> Result<(), TrainError> {
        let mut bytes = self.digest.to_vec();
        bytes.extend((self.step as u64).to_le_bytes());
        bytes.extend(self.beta1_power.to_le_bytes());
        bytes.extend(self.beta2_power.to_le_bytes());
        for set in [&mut self.weights, &mut self.first, &mut self.second] {
            for tensor in set.named_mut(config) {
                bytes.extend(tensor.data.iter().flat_map(|x| x.to_le_bytes()));
            }
        }
        bytes.extend(Sha256::digest(&bytes));
        write_durably(path, &bytes)
    }

    pub(super) fn read(
        path: &Path,
        digest: [u8; 32],
        config: &DecoderConfig,
    ) -> Result<Self, TrainError> {
        let bytes =
            std::fs::read(path).map_err(|source| TrainError::File { path: path.into(), source })?;
        let wrong = |why| TrainError::Checkpoint { path: path.into(), why };
        let mut state = Self::start(config, 0, digest);
        let mut sets = [&mut state.weights, &mut state.first, &mut state.second];
        let elements: usize =
            sets.iter_mut().flat_map(|s| s.named_mut(config)).map(|t| t.data.len()).sum();
        if bytes.len() != 56 + 4 * elements + 32 {
            return Err(wrong("its size does not fit this model"));
        }
        let (body, sum) = bytes.split_at(bytes.len() - 32);
        if Sha256::digest(body)[..] != *sum {
            return Err(wrong("it is damaged"));
        }
        if body[..32] != digest {
            return Err(wrong("it belongs to another run"));
        }
        let (head, mut floats) = body[32..].split_at(24);
        let words = head.as_chunks::<8>().0;
        state.step = u64::from_le_bytes(words[0]) as usize;
        state.beta1_power = f64::from_le_bytes(words[1]);
        state.beta2_power = f64::from_le_bytes(words[2]);
        for set in [&mut state.weights, &mut state.first, &mut state.second] {
            for tensor in set.named_mut(config) {
                let (part, rest) = floats.split_at(4 * tensor.data.len());
                for (x, b) in tensor.data.iter_mut().zip(part.as_chunks::<4>().0) {
                    *x = f32::from_le_bytes(*b);
                }
                floats = rest;
            }
        }
        Ok(state)
    }
}
