//! Log-probabilities of a token and of the most likely ones beside it, as the model gave them: before
//! penalties, bias, temperature and truncation.

/// Most other tokens whose log-probabilities can be asked for, as at OpenAI.
pub const TOP_LOGPROBS_MAX: usize = 20;

/// See the module. Natural logarithms.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// Of the token that was chosen.
    pub chosen: f32,
    /// The most likely tokens, most likely first; the lower id first where they are equal.
    pub top: Vec<(u32, f32)>,
}

impl TokenLogprobs {
    /// For `token` under `logits` `[vocabulary]`, with the `top` most likely tokens.
    pub fn new(logits: &[f32], token: u32, top: usize) -> Self {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
        let total = f64::from(most) + sum.ln();
        let logprob = |logit: f32| (f64::from(logit) - total) as f32;
        let mut best: Vec<(u32, f32)> = Vec::with_capacity(top + 1);
        for (id, logit) in (0u32..).zip(logits) {
            let at = best.partition_point(|(_, other)| other >= logit);
            if at < top {
                best.insert(at, (id, *logit));
                best.truncate(top);
            }
        }
        Self {
            chosen: logprob(logits[token as usize]),
            top: best.into_iter().map(|(id, logit)| (id, logprob(logit))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probabilities_of_all_tokens_sum_to_one() {
        let logits = [0.5f32, -2.0, 3.0, 3.0, 100.0, f32::NEG_INFINITY];
        let all = TokenLogprobs::new(&logits, 4, 6);
        let sum: f64 = all.top.iter().map(|(_, p)| f64::from(*p).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        assert_eq!(all.top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [4, 2, 3, 0, 1, 5]);
        assert_eq!(all.chosen, all.top[0].1);
    }

    #[test]
    fn even_odds_are_the_logarithm_of_a_half() {
        let two = TokenLogprobs::new(&[7.0, 7.0], 1, 1);
        assert!((two.chosen - 0.5f32.ln()).abs() < 1e-6);
        assert_eq!(two.top.len(), 1);
    }
}
