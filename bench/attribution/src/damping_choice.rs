//! Which damping a method gets when it may choose: never by the truth that it is judged by.
//!
//! **Invariant:** the damping of a seed is chosen on the other seeds of its task alone: on other records,
//! other questions and other trainings.

use std::collections::BTreeMap;

use crate::judge::mean_over_all;
use crate::measured::{Measured, Tried};

/// Mean LDS of every method and damping that was tried, seed by seed.
pub(crate) struct DampingChoice {
    seeds: Vec<BTreeMap<(String, u64), f64>>,
}

fn key(tried: &Tried) -> (String, u64) {
    (tried.method.clone(), tried.damping.to_bits())
}

impl DampingChoice {
    pub(crate) fn new(all: &[Measured]) -> Self {
        let of = |measured: &Measured| {
            let tried = measured.tried.iter();
            tried.map(|t| (key(t), mean_over_all(measured, &t.scores))).collect()
        };
        Self { seeds: all.iter().map(of).collect() }
    }

    /// The best of what the seed at `judged` tried of `method`, by what the others say of it. `None` if no
    /// other seed tried the method.
    pub(crate) fn best<'a>(
        &self,
        method: &str,
        tried: &'a [Tried],
        judged: usize,
    ) -> Option<&'a Tried> {
        let mean = |tried: &Tried| {
            let others = self.seeds.iter().enumerate().filter(|(seed, _)| *seed != judged);
            let reached: Vec<f64> =
                others.filter_map(|(_, lds)| lds.get(&key(tried)).copied()).collect();
            (!reached.is_empty()).then(|| reached.iter().sum::<f64>() / reached.len() as f64)
        };
        let of_method = tried.iter().filter(|tried| tried.method == method);
        let reached = of_method.filter_map(|tried| Some((mean(tried)?, tried)));
        // Of equals, the first: the lighter damping.
        reached.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, t)| t)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::Asked;

    /// Four players whose values add up; under the damping of `good` the scores are right.
    fn measured(seed: u64, good: usize) -> Measured {
        let part = |player: u32| f64::from(1 << player);
        let value = |mask: u64| (0..4).filter(|p| mask >> p & 1 == 1).map(part).sum();
        let scores = |at: usize| (0..4).map(|p| if at == good { part(p) } else { -1.0 }).collect();
        let tried = (0..3usize).map(|at| Tried {
            method: "M".into(),
            damping: at as f64,
            scores: vec![scores(at)],
        });
        Measured {
            task: "t".into(),
            seed,
            players: vec![String::new(); 4],
            queries: vec![Asked { owner: 0, seen: true, explained: 1.0 }],
            held_out: (1..15).collect(),
            runs: (0..16).map(|mask| (mask, vec![value(mask)])).collect(),
            tried: tried.collect(),
            ..Measured::default()
        }
    }

    #[test]
    fn a_damping_is_chosen_by_the_other_seeds_alone() {
        let all = [measured(0, 2), measured(1, 1), measured(2, 1)];
        let choice = DampingChoice::new(&all);
        let chosen =
            |judged: usize| choice.best("M", &all[judged].tried, judged).map(|tried| tried.damping);
        // Its own best is the third.
        assert_eq!(chosen(0), Some(1.0));
        // One seed for each of the two: the lighter.
        assert_eq!(chosen(1), Some(1.0));
    }

    #[test]
    fn one_seed_alone_chooses_nothing() {
        let all = [measured(0, 2)];
        assert!(DampingChoice::new(&all).best("M", &all[0].tried, 0).is_none());
    }
}
