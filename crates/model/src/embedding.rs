//! A text as one vector: what `/v1/embeddings` answers.

use crate::inference::Rows;
use crate::{Adapter, Decoder, Error};

impl Decoder {
    /// The mean over all tokens of the final states `[hidden]`, after the last norm, scaled to length 1.
    ///
    /// Vectors of one base and adapter are compared by their dot product. A base that was trained to continue
    /// texts was not trained to embed them; it is no match for a model made for that.
    ///
    /// Errors: [`Error::Request`] for no tokens, more than the context holds, a token outside the vocabulary,
    /// an adapter of another shape, or states that are not finite.
    pub fn embed(&self, tokens: &[u32], adapter: Option<&Adapter>) -> Result<Vec<f32>, Error> {
        self.check(tokens, adapter)?;
        let max = self.config().max_position_embeddings;
        if tokens.is_empty() || tokens.len() > max {
            let n = tokens.len();
            return Err(Error::Request(format!("{n} tokens to embed, must be 1 to {max}")));
        }
        let mut rows = Rows::default();
        rows.push(tokens, 0, adapter);
        rows.wanted.extend(0..tokens.len());
        let states = self.final_norm(&self.run_whole(&rows));
        let mut sum = vec![0.0f64; self.config().hidden_size];
        for state in states.chunks_exact(sum.len()) {
            sum.iter_mut().zip(state).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        if !(length.is_finite() && length > 0.0) {
            return Err(Error::Request("the text's state has no direction".into()));
        }
        Ok(sum.iter().map(|x| (x / length) as f32).collect())
    }
}
