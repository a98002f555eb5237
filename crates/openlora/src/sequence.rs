use std::sync::Arc;

use crate::{
    memory::BlockTable,
    prefix_cache::{Blend, Readers, Scope},
};

/// A sequence of one engine. Later ones have higher numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SequenceId(pub(crate) u64);

/// What is to be generated, as far as the scheduler needs to know it.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// In whose name.
    pub(crate) tenant: Arc<str>,
    /// Adapters and weights.
    pub(crate) blend: Blend,
    /// Whether it is read with the blend merged into the weights.
    pub(crate) merged: bool,
    /// Who may find its pages again.
    pub(crate) readers: Readers,
    /// At least one token.
    pub(crate) prompt: Vec<u32>,
    /// Longest answer.
    pub(crate) tokens_max: usize,
    /// While this one reads the same prompt it does not start.
    pub(crate) leader: Option<SequenceId>,
}

/// A sequence under way.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) tenant: Arc<str>,
    /// Adapters and weights, and who may find its pages again.
    pub(crate) scope: Arc<Scope>,
    /// Prompt and answer so far.
    pub(crate) tokens: Vec<u32>,
    pub(crate) prompt: usize,
    /// Longest it can become.
    pub(crate) longest: usize,
    /// Tokens whose keys and values are in the pages.
    pub(crate) computed: usize,
    /// Tokens its tenant was charged with; what is computed again is not charged again.
    pub(crate) charged: usize,
    /// While it runs.
    pub(crate) table: Option<BlockTable>,
    /// Plans in which only room was missing.
    pub(crate) passed_over: u32,
    pub(crate) leader: Option<SequenceId>,
}

impl Sequence {
    pub(crate) fn new(job: Job) -> Self {
        Self {
            tenant: job.tenant,
            scope: Arc::new(Scope { blend: job.blend, merged: job.merged, readers: job.readers }),
            prompt: job.prompt.len(),
            // The last token of the answer is never read.
            longest: job.prompt.len() + job.tokens_max - 1,
            tokens: job.prompt,
            computed: 0,
            charged: 0,
            table: None,
            passed_over: 0,
            leader: job.leader,
        }
    }

    /// Adapters and weights.
    pub(crate) fn blend(&self) -> &Blend {
        &self.scope.blend
    }

    /// Tokens the model has not read.
    pub(crate) fn unread(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Whether the whole prompt is read.
    pub(crate) fn prompt_read(&self) -> bool {
        self.computed >= self.prompt
    }
}
