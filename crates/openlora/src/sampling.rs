//! How the next token is chosen from the logits.
//!
//! ```text
//! logits ─▶ + bias ─▶ penalties ─▶ what a grammar allows ─▶ ÷ temperature ─▶ top_k ─▶ min_p ─▶ top_p ─▶ draw
//! ```
//!
//! **Invariant:** what a grammar does not allow is never drawn, whatever the logits are.
//! **Invariant:** the same seed, prompt and model give the same answer, whatever else is in the batch.

mod candidates;

use std::collections::{HashMap, HashSet};
use std::mem;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

pub(crate) use candidates::Scratch;

use crate::{Error, grammar::AllowedTokens};

/// Most tokens with a bias in one request.
pub const LOGIT_BIAS_MAX: usize = 1024;

/// Settings of one request, in OpenAI's words and ranges where it has them.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 is greedy; otherwise logits are divided by it before the softmax. 0 to 2.
    pub temperature: f32,
    /// Nucleus: only the smallest set of tokens whose probability reaches this is drawn from. 0 to 1.
    pub top_p: f32,
    /// Only so many of the most likely tokens are drawn from; 0 is all.
    pub top_k: usize,
    /// Only tokens at least so likely, relative to the most likely one, are drawn from. 0 to 1.
    pub min_p: f32,
    /// Divides positive logits of tokens of prompt and answer, multiplies negative ones; 1 is none.
    /// Source: arXiv 1909.05858.
    pub repetition_penalty: f32,
    /// Taken from a token's logit for each time it stands in the answer. −2 to 2.
    pub frequency_penalty: f32,
    /// Taken from a token's logit if it stands in the answer at all. −2 to 2.
    pub presence_penalty: f32,
    /// Added to the logits of these tokens. −100 to 100.
    pub logit_bias: Vec<(u32, f32)>,
    /// Same seed, same prompt, same model: same answer.
    pub seed: u64,
}

impl Sampling {
    /// Always the most likely token; the lowest id wins a tie.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_p: 1.0,
        top_k: 0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        frequency_penalty: 0.0,
        presence_penalty: 0.0,
        logit_bias: Vec::new(),
        seed: 0,
    };

    /// Errors: [`Error::Invalid`] with the field that is out of range.
    pub fn check(&self, vocabulary: usize) -> Result<(), Error> {
        let ranges = [
            ("temperature", self.temperature, 0.0, 2.0),
            ("top_p", self.top_p, 0.0, 1.0),
            ("min_p", self.min_p, 0.0, 1.0),
            ("repetition_penalty", self.repetition_penalty, 0.01, 100.0),
            ("frequency_penalty", self.frequency_penalty, -2.0, 2.0),
            ("presence_penalty", self.presence_penalty, -2.0, 2.0),
        ];
        for (field, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                let why = format!("{value} is outside {least} to {most}");
                return Err(Error::Invalid { field, why });
            }
        }
        let bias = |why| Err(Error::Invalid { field: "logit_bias", why });
        if self.logit_bias.len() > LOGIT_BIAS_MAX {
            return bias(format!("{} tokens, at most {LOGIT_BIAS_MAX}", self.logit_bias.len()));
        }
        for (token, value) in &self.logit_bias {
            if *token as usize >= vocabulary {
                return bias(format!("token {token} is outside the vocabulary of {vocabulary}"));
            }
            if !(-100.0..=100.0).contains(value) {
                return bias(format!("{value} is outside -100 to 100"));
            }
        }
        Ok(())
    }

    fn penalises_answer(&self) -> bool {
        self.frequency_penalty != 0.0 || self.presence_penalty != 0.0
    }

    fn penalises_repetition(&self) -> bool {
        self.repetition_penalty != 1.0
    }
}

/// Draws tokens for one request. Owns the request's random stream, so what else is in the batch
/// changes nothing.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
    /// Tokens of the prompt, if repetition is penalised.
    prompt: HashSet<u32>,
    /// How often each token stands in the answer, if anything depends on it.
    answer: HashMap<u32, u32>,
}

impl Sampler {
    /// A sampler at the start of its random stream.
    pub fn new(sampling: Sampling, prompt: &[u32]) -> Self {
        let random = ChaCha8Rng::seed_from_u64(sampling.seed);
        let repeated = if sampling.penalises_repetition() { prompt } else { &[] };
        let prompt = repeated.iter().copied().collect();
        Self { sampling, random, prompt, answer: HashMap::new() }
    }

    /// The next token for `logits` (one per vocabulary entry), of those that are `allowed`: of which there
    /// must be one. All are where nothing is said.
    pub fn next(&mut self, logits: &[f32], allowed: Option<&AllowedTokens>) -> u32 {
        self.next_with(&mut Scratch::default(), logits, allowed)
    }

    /// As [`Self::next`], in memory that other draws have used.
    pub(crate) fn next_with(
        &mut self,
        scratch: &mut Scratch,
        logits: &[f32],
        allowed: Option<&AllowedTokens>,
    ) -> u32 {
        let penalises = self.sampling.penalises_answer() || self.sampling.penalises_repetition();
        let plain = self.sampling.logit_bias.is_empty() && !penalises;
        let token = if plain && allowed.is_none() {
            self.choose(scratch, logits)
        } else {
            let mut changed = mem::take(&mut scratch.changed);
            changed.clear();
            changed.extend_from_slice(logits);
            self.change(&mut changed);
            if let Some(allowed) = allowed {
                allowed.forbid_others(&mut changed);
            }
            let token = self.choose(scratch, &changed);
            scratch.changed = changed;
            token
        };
        // No logit is a number above −∞: the first token that may be.
        let any = || {
            (0..logits.len() as u32).find(|token| allowed.is_none_or(|all| all.contains(*token)))
        };
        let token = token.or_else(any).unwrap_or(0);
        if penalises {
            *self.answer.entry(token).or_default() += 1;
        }
        token
    }

    /// None if every logit is −∞ or no number.
    fn choose(&mut self, scratch: &mut Scratch, logits: &[f32]) -> Option<u32> {
        if self.sampling.temperature <= 0.0 {
            return scratch.likeliest(logits);
        }
        let uniform = self.uniform();
        scratch.draw(logits, &self.sampling, uniform).or_else(|| scratch.likeliest(logits))
    }

    /// Adds bias and penalties.
    fn change(&self, logits: &mut [f32]) {
        let sampling = &self.sampling;
        for (token, bias) in &sampling.logit_bias {
            logits[*token as usize] += bias;
        }
        if sampling.penalises_repetition() {
            let unseen = self.prompt.iter().filter(|token| !self.answer.contains_key(token));
            for token in unseen.chain(self.answer.keys()) {
                let logit = &mut logits[*token as usize];
                let penalty = sampling.repetition_penalty;
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
        for (token, count) in &self.answer {
            let penalty = *count as f32 * sampling.frequency_penalty + sampling.presence_penalty;
            logits[*token as usize] -= penalty;
        }
    }

    /// Uniform in [0, 1) with 53 random bits.
    fn uniform(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 4] = [0.0, 3.0, 3.0, -1.0];

    fn warm(seed: u64) -> Sampling {
        Sampling { temperature: 1.0, seed, ..Sampling::GREEDY }
    }

    fn draws(sampling: Sampling) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling, &[]);
        (0..200).map(|_| sampler.next(&LOGITS, None)).collect()
    }

    fn greedy(sampling: Sampling, prompt: &[u32], logits: &[f32], n: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(Sampling { temperature: 0.0, ..sampling }, prompt);
        (0..n).map(|_| sampler.next(logits, None)).collect()
    }

    #[test]
    fn greedy_takes_the_first_of_the_most_likely() {
        assert_eq!(Sampler::new(Sampling::GREEDY, &[]).next(&LOGITS, None), 1);
    }

    #[test]
    fn the_same_seed_gives_the_same_tokens_and_another_seed_others() {
        assert_eq!(draws(warm(7)), draws(warm(7)));
        assert_ne!(draws(warm(7)), draws(warm(8)));
    }

    #[test]
    fn a_nucleus_leaves_the_tail_out() {
        let drawn = draws(Sampling { top_p: 0.9, ..warm(1) });
        assert!(drawn.iter().all(|token| [1, 2].contains(token)));
        assert!(drawn.contains(&1) && drawn.contains(&2));
        let one = draws(Sampling { top_p: 0.0, ..warm(1) });
        assert!(one.iter().all(|token| *token == 1));
    }

    #[test]
    fn top_k_keeps_the_most_likely_and_min_p_those_near_them() {
        assert!(draws(Sampling { top_k: 1, ..warm(1) }).iter().all(|token| *token == 1));
        let two = draws(Sampling { top_k: 2, ..warm(1) });
        assert!(two.iter().all(|token| [1, 2].contains(token)) && two.contains(&2));
        // e⁻³ is just below a twentieth, and e⁻⁴ further.
        let near = draws(Sampling { min_p: 0.05, ..warm(1) });
        assert!(near.iter().all(|token| [1, 2].contains(token)));
        assert!(draws(Sampling { min_p: 0.049, ..warm(1) }).contains(&0));
        assert!(draws(warm(1)).contains(&3));
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut sampler = Sampler::new(warm(3), &[]);
        let logits = [0.0f32, 1.0, 2.0];
        let mut counts = [0u32; 3];
        const DRAWS: u32 = 100_000;
        (0..DRAWS).for_each(|_| counts[sampler.next(&logits, None) as usize] += 1);
        let total: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
        for (count, logit) in counts.iter().zip(logits) {
            let (is, expected) =
                (f64::from(*count) / f64::from(DRAWS), f64::from(logit).exp() / total);
            // Five standard deviations at most.
            assert!((is - expected).abs() < 5.0 * 0.5 / f64::from(DRAWS).sqrt(), "{is} {expected}");
        }
    }

    #[test]
    fn presence_counts_once_and_frequency_each_time() {
        // Token 0 leads token 1 by 1.
        let logits = [1.0f32, 0.0];
        let presence = Sampling { presence_penalty: 1.5, ..Sampling::GREEDY };
        // Once both have been seen, both are lower and 0 leads again.
        assert_eq!(greedy(presence, &[], &logits, 4), [0, 1, 0, 0]);
        let frequency = Sampling { frequency_penalty: 0.6, ..Sampling::GREEDY };
        assert_eq!(greedy(frequency, &[], &logits, 4), [0, 0, 1, 0]);
        // The prompt is not the answer.
        let presence = Sampling { presence_penalty: 1.5, ..Sampling::GREEDY };
        assert_eq!(greedy(presence, &[0], &logits, 1), [0]);
    }

    #[test]
    fn repetition_is_penalised_in_prompt_and_answer_and_in_both_signs() {
        let penalty = || Sampling { repetition_penalty: 2.0, ..Sampling::GREEDY };
        assert_eq!(greedy(penalty(), &[0], &[1.0, 0.6], 3), [1, 0, 0]);
        assert_eq!(greedy(penalty(), &[0], &[-0.5, -0.9], 1), [1]);
    }

    #[test]
    fn a_bias_decides_and_a_ban_holds() {
        let bias = |bias: &[(u32, f32)]| Sampling { logit_bias: bias.to_vec(), ..Sampling::GREEDY };
        assert_eq!(greedy(bias(&[(3, 100.0)]), &[], &LOGITS, 2), [3, 3]);
        assert_eq!(greedy(bias(&[(1, -100.0)]), &[], &LOGITS, 2), [2, 2]);
        assert!(bias(&[(4, 1.0)]).check(4).is_err());
        assert!(bias(&[(3, 100.5)]).check(4).is_err());
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let cold = Sampling { temperature: -0.1, ..Sampling::GREEDY };
        assert!(cold.check(4).is_err_and(|error| error.to_string().starts_with("temperature")));
        let nothing = Sampling { top_p: f32::NAN, ..Sampling::GREEDY };
        assert!(nothing.check(4).is_err_and(|error| error.to_string().starts_with("top_p")));
        assert_eq!(Sampling::GREEDY.check(4), Ok(()));
    }

    /// What one draw costs, with logits of a model that hardly knows and of one that knows well.
    /// `cargo test --release -p openledger-openlora -- --ignored --nocapture what_a_draw_costs`
    #[test]
    #[ignore = "says how long draws take"]
    fn what_a_draw_costs() {
        const DRAWS: u32 = 200;
        let mut random = openledger_tensor::Random::new(1, 0);
        for vocabulary in [4096, 151_936] {
            let flat: Vec<f32> = (0..vocabulary).map(|_| 2.5 * random.normal()).collect();
            let mut steep: Vec<f32> = (1..=vocabulary).map(|i| -1.5 * (i as f32).ln()).collect();
            (1..vocabulary).for_each(|i| steep.swap(i, random.below(i + 1)));
            for (kind, logits) in [("flat", flat), ("steep", steep)] {
                for (what, sampling) in [
                    ("temperature 1", warm(1)),
                    ("top_p 0.95", Sampling { top_p: 0.95, ..warm(1) }),
                    ("top_k 50", Sampling { top_k: 50, ..warm(1) }),
                    ("min_p 0.05", Sampling { min_p: 0.05, ..warm(1) }),
                    ("greedy", Sampling::GREEDY),
                ] {
                    let mut sampler = Sampler::new(sampling, &[]);
                    let mut scratch = Scratch::default();
                    sampler.next_with(&mut scratch, &logits, None);
                    let begun = std::time::Instant::now();
                    let ids: u64 = (0..DRAWS)
                        .map(|_| u64::from(sampler.next_with(&mut scratch, &logits, None)))
                        .sum();
                    let micros = begun.elapsed().as_secs_f64() * 1e6 / f64::from(DRAWS);
                    println!("{vocabulary} {kind} {what}: {micros:.1} us ({ids})");
                }
            }
        }
    }
}
