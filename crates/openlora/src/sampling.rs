use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How the next token is chosen from the logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// 0 is greedy; otherwise logits are divided by it before the softmax.
    pub temperature: f32,
    /// Nucleus: only the smallest set of tokens whose probability reaches this is drawn from.
    pub top_p: f32,
    /// Same seed, same prompt, same model: same answer.
    pub seed: u64,
}

impl Sampling {
    /// Always the most likely token; the lowest id wins a tie.
    pub const GREEDY: Self = Self { temperature: 0.0, top_p: 1.0, seed: 0 };
}

/// Draws tokens for one request. Owns the request's random stream, so what else is in the batch
/// changes nothing.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
}

impl Sampler {
    /// A sampler at the start of its random stream.
    pub fn new(sampling: Sampling) -> Self {
        Self { sampling, random: ChaCha8Rng::seed_from_u64(sampling.seed) }
    }

    /// The next token for `logits` (one per vocabulary entry).
    pub fn next(&mut self, logits: &[f32]) -> u32 {
        if self.sampling.temperature <= 0.0 {
            return argmax(logits);
        }
        let mut candidates = self.candidates(logits);
        let total: f64 = candidates.iter().map(|(_, weight)| weight).sum();
        keep_nucleus(&mut candidates, total * f64::from(self.sampling.top_p));
        let kept: f64 = candidates.iter().map(|(_, weight)| weight).sum();
        let mut target = self.uniform() * kept;
        for (token, weight) in &candidates {
            target -= weight;
            if target < 0.0 {
                return *token;
            }
        }
        candidates.last().map_or_else(|| argmax(logits), |(token, _)| *token)
    }

    /// Tokens with their unnormalised probabilities, most likely first.
    fn candidates(&self, logits: &[f32]) -> Vec<(u32, f64)> {
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let scale = 1.0 / f64::from(self.sampling.temperature);
        let mut candidates: Vec<(u32, f64)> = (0u32..)
            .zip(logits)
            .map(|(token, logit)| (token, (f64::from(logit - top) * scale).exp()))
            .collect();
        candidates.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        candidates
    }

    /// Uniform in [0, 1) with 53 random bits.
    fn uniform(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn keep_nucleus(candidates: &mut Vec<(u32, f64)>, mass: f64) {
    let mut sum = 0.0;
    let kept = candidates.iter().take_while(|(_, weight)| {
        let before = sum;
        sum += weight;
        before < mass
    });
    let kept = kept.count().max(1);
    candidates.truncate(kept);
}

fn argmax(logits: &[f32]) -> u32 {
    let mut best = (0u32, f32::NEG_INFINITY);
    for (token, logit) in (0u32..).zip(logits) {
        if *logit > best.1 {
            best = (token, *logit);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 4] = [0.0, 3.0, 3.0, -1.0];

    fn draws(sampling: Sampling) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling);
        (0..200).map(|_| sampler.next(&LOGITS)).collect()
    }

    #[test]
    fn greedy_takes_the_first_of_the_most_likely() {
        assert_eq!(Sampler::new(Sampling::GREEDY).next(&LOGITS), 1);
    }

    #[test]
    fn the_same_seed_gives_the_same_tokens_and_another_seed_others() {
        let sampling = |seed| Sampling { temperature: 1.0, top_p: 1.0, seed };
        assert_eq!(draws(sampling(7)), draws(sampling(7)));
        assert_ne!(draws(sampling(7)), draws(sampling(8)));
    }

    #[test]
    fn a_nucleus_leaves_the_tail_out() {
        let drawn = draws(Sampling { temperature: 1.0, top_p: 0.9, seed: 1 });
        assert!(drawn.iter().all(|token| [1, 2].contains(token)));
        assert!(drawn.contains(&1) && drawn.contains(&2));
        let one = draws(Sampling { temperature: 1.0, top_p: 0.0, seed: 1 });
        assert!(one.iter().all(|token| *token == 1));
    }
}
