//! The draws of one step: one token for each row, on all threads.
//!
//! **Invariant:** a draw depends on its own logits and its own answer; neither the thread nor the order of the rows
//! shows.

use std::sync::{Mutex, PoisonError};

use openledger_tensor::for_each_mut;

use crate::{Sampler, TokenLogprobs, grammar::Matcher, sampling::Scratch};

/// Logits of all rows together from which on it is worth waking other threads.
const LOGITS_ALONE_MAX: usize = 1 << 16;

/// What an answer's next token depends on, beside the logits.
#[derive(Debug)]
pub(crate) struct Drawing {
    pub(crate) sampler: Sampler,
    pub(crate) matcher: Option<Matcher>,
    /// Log-probabilities wanted, with this many alternatives.
    pub(crate) logprobs: Option<usize>,
}

/// A token that was drawn.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) token: u32,
    pub(crate) logprobs: Option<TokenLogprobs>,
    /// Whether the grammar of the answer lets nothing follow.
    pub(crate) whole: bool,
}

/// Memory for draws: as many pieces as threads drew at the same time.
#[derive(Debug, Default)]
pub(crate) struct Scratches(Mutex<Vec<Scratch>>);

impl Drawing {
    /// The next token of the answer. Errors: why the grammar cannot go on.
    fn draw(&mut self, scratch: &mut Scratch, logits: &[f32]) -> Result<Drawn, String> {
        let allowed = self.matcher.as_mut().map(Matcher::allowed).transpose()?;
        let token = self.sampler.next_with(scratch, logits, allowed.as_ref());
        let whole = self.matcher.as_mut().map_or(Ok(false), |matcher| matcher.push(token))?;
        let logprobs = self.logprobs.map(|top| TokenLogprobs::new(logits, token, top));
        Ok(Drawn { token, logprobs, whole })
    }
}

/// Draws for every row from its logits. Results in the order of the rows; errors as of [`Drawing::draw`].
pub(crate) fn draw_all(
    scratches: &Scratches,
    rows: Vec<(&mut Drawing, &[f32])>,
) -> Vec<Result<Drawn, String>> {
    let logits: usize = rows.iter().map(|(_, logits)| logits.len()).sum();
    // A mask may take a millisecond.
    let long = logits > LOGITS_ALONE_MAX || rows.iter().any(|(one, _)| one.matcher.is_some());
    let mut rows: Vec<_> = rows.into_iter().map(|row| (row, None)).collect();
    let draw = |((drawing, logits), drawn): &mut ((&mut Drawing, &[f32]), Option<_>)| {
        let mut scratch = scratches.take();
        *drawn = Some(drawing.draw(&mut scratch, logits));
        scratches.give_back(scratch);
    };
    if long {
        for_each_mut(&mut rows, draw);
    } else {
        rows.iter_mut().for_each(draw);
    }
    rows.into_iter().map(|(_, drawn)| drawn.expect("each was drawn for")).collect()
}

impl Scratches {
    fn take(&self) -> Scratch {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, scratch: Scratch) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
    }
}

#[cfg(test)]
mod tests {
    use openledger_tensor::{Random, with_threads};

    use super::*;
    use crate::{Grammars, Sampling};

    const VOCABULARY: usize = 5000;
    const ROWS: u64 = 24;

    /// The answers of rows with all kinds of settings after some steps.
    fn answers(threads: usize) -> Vec<Vec<(u32, bool, Option<TokenLogprobs>)>> {
        let byte = |byte: u8| vec![byte];
        let mut words: Vec<Vec<u8>> = (0..=255).map(byte).collect();
        words.resize(VOCABULARY, Vec::new());
        let object = Grammars::of_words(&words, 300).expect("a vocabulary").object();
        let sampling = |row: u64| Sampling {
            temperature: if row.is_multiple_of(5) { 0.0 } else { 1.0 },
            top_p: if row.is_multiple_of(3) { 0.9 } else { 1.0 },
            top_k: if row.is_multiple_of(4) { 40 } else { 0 },
            presence_penalty: if row.is_multiple_of(7) { 1.0 } else { 0.0 },
            seed: row,
            ..Sampling::GREEDY
        };
        let mut drawings: Vec<Drawing> = (0..ROWS)
            .map(|row| Drawing {
                sampler: Sampler::new(sampling(row), &[]),
                matcher: (row % 6 == 1).then(|| object.matcher()),
                logprobs: (row % 2 == 0).then_some(2),
            })
            .collect();
        let scratches = Scratches::default();
        let mut random = Random::new(9, 0);
        let mut answers = vec![Vec::new(); ROWS as usize];
        for _ in 0..6 {
            let logits: Vec<Vec<f32>> = (0..ROWS)
                .map(|_| (0..VOCABULARY).map(|_| 3.0 * random.normal()).collect())
                .collect();
            let rows = drawings.iter_mut().zip(logits.iter().map(Vec::as_slice)).collect();
            let drawn = with_threads(threads, || draw_all(&scratches, rows));
            for (answer, drawn) in answers.iter_mut().zip(drawn) {
                let drawn = drawn.expect("the grammar goes on");
                answer.push((drawn.token, drawn.whole, drawn.logprobs));
            }
        }
        assert!((1..=threads).contains(&scratches.0.lock().expect("whole").len()));
        answers
    }

    #[test]
    fn any_number_of_threads_draws_the_same() {
        let one = answers(1);
        assert!(one.iter().any(|row| row[0].0 != one[0][0].0), "rows differ");
        for threads in [2, 5] {
            assert_eq!(answers(threads), one);
        }
    }
}
