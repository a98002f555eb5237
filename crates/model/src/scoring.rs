//! Log-likelihoods of answers, in fixed point: the values that attribution reads.

use crate::inference::Rows;
use crate::{Adapter, Decoder, Error};
use openledger_tensor::log_likelihoods;

/// Rows of one pass; bounds memory, changes no bit.
const ROWS_MAX: usize = 4096;

/// Rows whose logits are held at once.
const CHUNK: usize = 256;

/// Units of a log-likelihood in one nat.
pub const UNITS_PER_NAT: f64 = 1_048_576.0;

/// An answer to be scored under an adapter.
#[derive(Clone, Copy, Debug)]
pub struct ScoreRequest<'a> {
    /// Prompt and answer.
    pub tokens: &'a [u32],
    /// Where the answer starts, at least 1.
    pub answer_start: usize,
    /// The adapter, or the base alone.
    pub adapter: Option<&'a Adapter>,
}

impl Decoder {
    /// ln p of every answer token given all before it, in units of 2⁻²⁰ nat, rounded half to even from
    /// the f32 result.
    ///
    /// One mixed batch: the rows of all adapters share the products with the base. A result depends on its
    /// own request only. Errors: [`Error::Request`] if a request has no prompt or no answer, exceeds the
    /// context, holds a token outside the vocabulary, or a likelihood is not finite.
    pub fn log_likelihoods(&self, requests: &[ScoreRequest<'_>]) -> Result<Vec<Vec<i64>>, Error> {
        for r in requests {
            self.check(r.tokens, r.adapter)?;
            let max = self.config.max_position_embeddings + 1;
            if r.answer_start == 0 || r.answer_start >= r.tokens.len() || r.tokens.len() > max {
                return Err(Error::Request(format!(
                    "{} tokens with the answer from {}, must be at most {max} with both a prompt and an answer",
                    r.tokens.len(),
                    r.answer_start
                )));
            }
        }
        let mut results = Vec::with_capacity(requests.len());
        let mut rest = requests;
        while !rest.is_empty() {
            let mut rows = 0;
            let fits = |r: &&ScoreRequest<'_>| {
                rows += r.tokens.len() - 1;
                rows <= ROWS_MAX
            };
            let (now, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            self.score(now, &mut results)?;
            rest = later;
        }
        Ok(results)
    }

    fn score(
        &self,
        requests: &[ScoreRequest<'_>],
        results: &mut Vec<Vec<i64>>,
    ) -> Result<(), Error> {
        let mut rows = Rows::default();
        let mut targets = Vec::new();
        for r in requests {
            let start = rows.tokens.len();
            rows.push(&r.tokens[..r.tokens.len() - 1], 0, r.adapter);
            rows.wanted.extend(start + r.answer_start - 1..rows.tokens.len());
            targets.extend_from_slice(&r.tokens[r.answer_start..]);
        }
        let last = self.run_whole(&rows);
        let mut likelihoods = Vec::with_capacity(targets.len());
        let chunks = last.chunks(CHUNK * self.config.hidden_size);
        for (last, targets) in chunks.zip(targets.chunks(CHUNK)) {
            let mut logits = self.logits(last);
            likelihoods.extend(log_likelihoods(&mut logits, self.config.vocab_size, targets));
        }
        if likelihoods.iter().any(|l| !l.is_finite()) {
            return Err(Error::Request("a log-likelihood is not finite".into()));
        }
        let mut likelihoods = likelihoods.into_iter();
        for r in requests {
            let answer = likelihoods.by_ref().take(r.tokens.len() - r.answer_start);
            results.push(
                answer.map(|l| (f64::from(l) * UNITS_PER_NAT).round_ties_even() as i64).collect(),
            );
        }
        Ok(())
    }
}
