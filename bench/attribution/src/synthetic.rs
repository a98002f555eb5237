//! A task whose truth is known in full: Markov chains, and a decoder small enough to train every subset.
//!
//! The base learns one chain over 48 symbols. Each contributor's domain replaces the successors of half of
//! the symbols by its own; the first two contributors share a domain. Questions are sequences of each
//! domain, half of them trained on and half fresh.

use eyre::Result;
use openledger_factory::{Example, Pretrain, Proceed, Recipe, TrainingRecipe, pretrain};
use openledger_model::{Decoder, DecoderConfig};
use openledger_tensor::Random;

use crate::task::{Query, Task};

const SYMBOLS: usize = 48;
const LENGTH: usize = 16;
const PLAYERS: usize = 8;
const RECORDS: usize = 24;
/// Likely successors of a symbol, and how likely it is that one of them follows.
const SUCCESSORS: usize = 3;
const LIKELY: f32 = 0.9;
/// Questions per player: trained on, and fresh.
const SEEN: usize = 2;
const FRESH: usize = 2;

/// Likely successors of each symbol.
#[derive(Clone)]
struct Chain(Vec<[u32; SUCCESSORS]>);

impl Chain {
    fn new(random: &mut Random) -> Self {
        let mut row = || std::array::from_fn(|_| random.below(SYMBOLS) as u32);
        Self((0..SYMBOLS).map(|_| row()).collect())
    }

    /// The same chain with half of its rows replaced.
    fn domain(&self, random: &mut Random) -> Self {
        let other = Self::new(random);
        let mut rows: Vec<usize> = (0..SYMBOLS).collect();
        random.shuffle(&mut rows);
        let mut domain = self.clone();
        rows[..SYMBOLS / 2].iter().for_each(|row| domain.0[*row] = other.0[*row]);
        domain
    }

    fn walk(&self, length: usize, random: &mut Random) -> Vec<u32> {
        let mut at = random.below(SYMBOLS) as u32;
        let mut tokens = vec![at];
        while tokens.len() < length {
            at = if random.uniform() < LIKELY {
                self.0[at as usize][random.below(SUCCESSORS)]
            } else {
                random.below(SYMBOLS) as u32
            };
            tokens.push(at);
        }
        tokens
    }
}

/// The task of a seed, with runs of `steps` steps.
pub(crate) fn task(seed: u64, steps: usize) -> Result<Task> {
    let mut random = Random::new(seed, 1 << 30);
    let common = Chain::new(&mut random);
    let base = base(&common, &mut random, seed)?;
    let mut domains: Vec<Chain> = (1..PLAYERS).map(|_| common.domain(&mut random)).collect();
    domains.insert(0, domains[0].clone());
    let mut record = |player: usize| Example {
        tokens: domains[player].walk(LENGTH + 1, &mut random),
        answer_start: 1,
        player,
    };
    let mut examples = Vec::new();
    let mut queries = Vec::new();
    for player in 0..PLAYERS {
        let own: Vec<Example> = (0..RECORDS).map(|_| record(player)).collect();
        queries.extend(own.iter().take(SEEN).map(|record| Query::of_record(record, true)));
        examples.extend(own);
        queries.extend((0..FRESH).map(|_| Query::of_record(&record(player), false)));
    }
    let recipe = Recipe {
        rank: 4,
        alpha: 8.0,
        steps,
        batch_size: 16,
        tokens_max: LENGTH + 1,
        learning_rate: 3e-3,
        seed,
        ..Recipe::default()
    };
    let players = (0..PLAYERS).map(|player| format!("chain {player}")).collect();
    Ok(Task { name: "synthetic".into(), seed, base, recipe, players, examples, queries })
}

/// The base of a seed alone.
pub(crate) fn any_base(seed: u64) -> Result<Decoder> {
    let mut random = Random::new(seed, 1 << 30);
    let common = Chain::new(&mut random);
    base(&common, &mut random, seed)
}

/// Learns the common chain from nothing.
fn base(common: &Chain, random: &mut Random, seed: u64) -> Result<Decoder> {
    let config = DecoderConfig::llama(32, 2, (4, 4), 64, SYMBOLS, LENGTH);
    let training = TrainingRecipe {
        steps: 400,
        batch_sequences: 16,
        sequence_tokens: LENGTH,
        learning_rate: 6e-3,
        final_rate_ratio: 0.1,
        warmup_steps: 20,
        beta1: 0.9,
        beta2: 0.98,
        weight_decay: 0.01,
        gradient_norm_max: 1.0,
    };
    let tokens: Vec<u16> = common.walk(40_000, random).iter().map(|t| *t as u16).collect();
    let run =
        Pretrain { config: &config, training: &training, seed, tokens: &tokens, checkpoint: None };
    let weights = pretrain(&run, |_| Proceed::Continue)?;
    Ok(Decoder::new(config, weights, true))
}
