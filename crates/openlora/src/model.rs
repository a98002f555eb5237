use std::sync::Arc;

use crate::pages::PageId;

/// New tokens of one sequence: a piece of its prompt, or the token just generated.
#[derive(Debug)]
pub struct Step<'a, A, W> {
    /// At least one token.
    pub tokens: &'a [u32],
    /// Tokens of this sequence that are in its pages already.
    pub before: usize,
    /// Its pages in order; they cover `before + tokens.len()` tokens.
    pub pages: &'a [PageId],
    /// The blend it is answered with; empty is the base alone.
    pub adapters: &'a [(Arc<A>, f32)],
    /// The copy of the base that it is read with, its blend merged in; `adapters` is empty then.
    pub merged: Option<&'a Arc<W>>,
    /// Whether the logits after the last token are wanted.
    pub logits_wanted: bool,
}

/// What an engine runs: a base that reads any mix of sequences and adapters in one step.
///
/// **Invariant:** logits depend on their own sequence and blend only: not on the rest of the batch, not on
/// the pieces in which a prompt was read, not on which pages were used. Full pages may be read by several
/// sequences of one blend.
pub trait Model: Send + 'static {
    /// An adapter as this model reads it.
    type Adapter: Send + Sync + 'static;

    /// A copy of the base with a blend merged in, as this model reads it.
    type Merged: Send + Sync + 'static;

    /// Tokens it knows.
    fn vocabulary(&self) -> usize;

    /// Longest sequence.
    fn context(&self) -> usize;

    /// Pages there are: the engine's memory, adapters included.
    fn pages(&self) -> usize;

    /// Pages that memory was taken for.
    fn pages_taken(&self) -> usize {
        self.pages()
    }

    /// Gives the memory of all pages but the first `pages` back to the system; they will be written before they
    /// are read again.
    fn give_back(&mut self, _pages: usize) {}

    /// Memory of one page of [`PAGE_TOKENS`](crate::PAGE_TOKENS) positions.
    fn page_bytes(&self) -> usize;

    /// Reads the tokens of all sequences. One result for each: the logits `[vocabulary]`, if wanted.
    ///
    /// Errors: why it was refused; then nothing was written but what the same sequences will write again. The
    /// engine repeats it sequence by sequence, and those that are refused alone fail.
    fn step(
        &mut self,
        batch: &[Step<'_, Self::Adapter, Self::Merged>],
    ) -> Result<Vec<Option<Vec<f32>>>, String>;
}
