//! How long a span index takes to build and to ask: `cargo run --release --example span_speed`.
//!
//! Text of 2 million tokens in records of 200, words drawn so that few are common and most are rare;
//! answers of 450 tokens, two thirds of them cut from records.

#![expect(clippy::print_stdout, reason = "an example: its report is its output")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use openledger_attribution::{Error, SpanIndex};

const TOKENS: usize = 2_000_000;
const RECORD_TOKENS: usize = 200;
const VOCABULARY: u64 = 4_096;
const ANSWER_TOKENS: usize = 450;
const ANSWERS: usize = 2_000;

fn main() -> Result<(), Error> {
    let mut noise = Noise(1);
    let records: Vec<(u8, Vec<u32>)> = (0..TOKENS / RECORD_TOKENS)
        .map(|record| ((record % 20) as u8, (0..RECORD_TOKENS).map(|_| noise.token()).collect()))
        .collect();

    let start = Instant::now();
    let index = SpanIndex::build(records.iter().map(|(player, tokens)| (*player, tokens)))?;
    let built = start.elapsed();
    let rate = index.tokens() as f64 / built.as_secs_f64() / 1e6;
    println!("build: {} tokens in {built:.2?}, {rate:.1} M tokens/s", index.tokens());

    let mut times: Vec<Duration> = Vec::with_capacity(ANSWERS);
    let mut spans = 0;
    for _ in 0..ANSWERS {
        let answer = noise.answer(&records);
        let start = Instant::now();
        spans += black_box(index.matches(black_box(&answer))).len();
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let (middle, high, worst) = (times[ANSWERS / 2], times[ANSWERS * 99 / 100], times[ANSWERS - 1]);
    println!("query: {ANSWER_TOKENS} tokens, p50 {middle:.2?}, p99 {high:.2?}, worst {worst:.2?}");
    println!("spans: {:.1} per answer", spans as f64 / ANSWERS as f64);
    Ok(())
}

/// splitmix64.
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    /// The product of two uniform numbers: token 0 about 700 times as often as the mean.
    fn token(&mut self) -> u32 {
        let product = self.below(VOCABULARY) * self.below(VOCABULARY) / VOCABULARY;
        (product * self.below(VOCABULARY) / VOCABULARY) as u32
    }

    fn answer(&mut self, records: &[(u8, Vec<u32>)]) -> Vec<u32> {
        let mut answer = Vec::with_capacity(ANSWER_TOKENS);
        while answer.len() < ANSWER_TOKENS {
            let record = self.below(records.len() as u64) as usize;
            let from = self.below(RECORD_TOKENS as u64 - 40) as usize;
            answer.extend(&records[record].1[from..from + 40]);
            answer.extend((0..20).map(|_| self.token()));
        }
        answer.truncate(ANSWER_TOKENS);
        answer
    }
}
