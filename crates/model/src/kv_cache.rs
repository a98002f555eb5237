//! Keys and values of the tokens a sequence has read.

use crate::DecoderConfig;
use openledger_tensor::LayerCache;

/// The cache of one sequence, all layers. Memory for its capacity is taken at once.
#[derive(Clone, Debug)]
pub struct KvCache {
    pub(crate) layers: Vec<LayerCache>,
    len: usize,
    capacity: usize,
}

impl KvCache {
    /// Room for `tokens_max` tokens, at most the context of the model.
    pub fn new(config: &DecoderConfig, tokens_max: usize) -> Self {
        let capacity = tokens_max.min(config.max_position_embeddings);
        let layer = || LayerCache::new(config.heads(), capacity);
        Self { layers: (0..config.num_hidden_layers).map(|_| layer()).collect(), len: 0, capacity }
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tokens there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all tokens but the first `tokens`.
    pub fn truncate(&mut self, tokens: usize) {
        self.len = self.len.min(tokens);
        self.layers.iter_mut().for_each(|l| l.truncate(tokens));
    }

    /// Forgets everything; the memory stays.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Memory it takes.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(LayerCache::bytes).sum()
    }

    pub(crate) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }
}
