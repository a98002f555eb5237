//! How well the effects of a model predict what retraining it gives.

mod draws;
mod rank_correlation;

pub use rank_correlation::rank_correlation_ppm;

use alloy_sol_types::{SolValue, sol};
use openledger_primitives::{B256, keccak256};
use serde::{Deserialize, Serialize};

use crate::{Design, DesignRef, Error, Influence};
use draws::Draws;

/// Held-out subsets below which there is no certificate: three points always look like a line.
pub const SUBSETS_MIN: usize = 4;
/// Held-out subsets, at most.
pub const SUBSETS_MAX: usize = 1 << 10;
/// Answers, at most.
pub const ANSWERS_MAX: usize = 1 << 12;
/// Bootstrap resamples behind the interval.
pub const RESAMPLES: u32 = 1_000;

sol! {
    /// What a certificate hash commits to.
    struct CertificateEncoding {
        bytes32 designHash;
        uint64 seed;
        uint64[] subsets;
        uint32 answers;
        bytes32 valuesHash;
        int32 ldsPpm;
        int32 lowPpm;
        int32 highPpm;
    }
}

/// Fidelity of one model's attribution: the linear datamodeling score over subsets of its contributors
/// that no run of its design trained.
///
/// Source: Ilyas et al. 2022 (arXiv 2202.00622), Park et al. 2023 (arXiv 2303.14186), §2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The design whose effects were tried.
    pub design: DesignRef,
    /// What subsets and resamples were drawn with. Nobody may choose it: a hash that was not known when
    /// the model was registered.
    pub seed: u64,
    /// The held-out subsets: bit c is set where player c is in.
    pub subsets: Vec<u64>,
    /// Answers over which the score is the mean.
    pub answers: u32,
    /// Keccak-256 of `abi.encode(int64[][] predicted, int64[][] actual)`.
    pub values_hash: B256,
    /// The score, in parts per million: 1,000,000 where predictions rank all subsets as retraining does.
    pub lds_ppm: i32,
    /// Lower end of the 95 % interval.
    pub low_ppm: i32,
    /// Upper end.
    pub high_ppm: i32,
}

/// Draws `count` subsets of the players that no run of `design` trains, all different, each such subset
/// with the same probability.
///
/// Errors: [`Error::HeldOut`] if the design leaves fewer, or `count` is not [`SUBSETS_MIN`] to
/// [`SUBSETS_MAX`].
pub fn held_out(design: &Design, seed: u64, count: usize) -> Result<Vec<u64>, Error> {
    let players = design.players();
    let trained: Vec<u64> = (0..design.run_count()).map(|run| mask(&design.subset(run))).collect();
    let left = (1u128 << players) - trained.len() as u128;
    if !(SUBSETS_MIN..=SUBSETS_MAX).contains(&count) || count as u128 > left {
        return Err(Error::HeldOut { asked: count, left });
    }
    let mut draws = Draws::new(seed);
    let mut subsets: Vec<u64> = Vec::with_capacity(count);
    while subsets.len() < count {
        let subset = draws.word() >> (64 - players);
        if !trained.contains(&subset) && !subsets.contains(&subset) {
            subsets.push(subset);
        }
    }
    Ok(subsets)
}

/// What the effects of one answer predict for each subset: Σ m·φ_c over the players in it.
pub fn predicted(effects: &[i64], subsets: &[u64]) -> Vec<i64> {
    let inside = |subset: u64| (0..effects.len()).filter(move |player| subset >> player & 1 == 1);
    subsets.iter().map(|subset| inside(*subset).map(|player| effects[player]).sum()).collect()
}

/// Certifies predictions by what retraining gave.
///
/// `count` held-out subsets are those of [`held_out`]. `predicted`, `actual`: one row per answer, one
/// column per subset: [`predicted`] effects, and the value of the answer under an adapter trained on
/// that subset, in units of 2⁻²⁰ nat.
///
/// The score is the mean over answers of Spearman's rank correlation, rounded down. Its interval is the
/// middle 95 % of [`RESAMPLES`] resamples of answers and of subsets at once, since both were drawn: few
/// of either make it wide. Integers only, so everybody gets the same certificate.
///
/// Source of the two-way resampling: Owen 2007, "The pigeonhole bootstrap", Ann. Appl. Stat. 1(2).
///
/// Errors: those of [`held_out`]; [`Error::ValueMatrix`].
pub fn certify(
    design: &Design,
    seed: u64,
    count: usize,
    predicted: &[Vec<i64>],
    actual: &[Vec<i64>],
) -> Result<Certificate, Error> {
    let subsets = held_out(design, seed, count)?;
    let shaped = |rows: &[Vec<i64>]| rows.iter().all(|row| row.len() == count);
    let answers = predicted.len();
    if !(1..=ANSWERS_MAX).contains(&answers)
        || actual.len() != answers
        || !shaped(predicted)
        || !shaped(actual)
    {
        return Err(Error::ValueMatrix { subsets: count });
    }
    let score = |answers: &[usize], subsets: &[usize]| -> i32 {
        let pick = |row: &Vec<i64>| subsets.iter().map(|s| row[*s]).collect::<Vec<i64>>();
        let correlation = |answer: &usize| {
            rank_correlation_ppm(&pick(&predicted[*answer]), &pick(&actual[*answer]))
        };
        let sum: i64 = answers.iter().map(correlation).map(i64::from).sum();
        sum.div_euclid(answers.len() as i64) as i32 // a mean of such numbers
    };
    let all = |count: usize| (0..count).collect::<Vec<usize>>();
    let lds_ppm = score(&all(answers), &all(count));

    let mut draws = Draws::new(!seed);
    let mut resampled: Vec<i32> =
        (0..RESAMPLES).map(|_| score(&draws.indices(answers), &draws.indices(count))).collect();
    resampled.sort_unstable();
    let tail = RESAMPLES as usize / 40;
    Ok(Certificate {
        design: design.reference(),
        seed,
        subsets,
        answers: answers as u32,
        values_hash: keccak256((predicted.to_vec(), actual.to_vec()).abi_encode_params()),
        lds_ppm,
        low_ppm: resampled[tail].min(lds_ppm),
        high_ppm: resampled[resampled.len() - 1 - tail].max(lds_ppm),
    })
}

impl Certificate {
    /// Canonical encoding: `abi.encode` of the Solidity struct [`CertificateEncoding`].
    pub fn encode(&self) -> Vec<u8> {
        CertificateEncoding {
            designHash: self.design.hash,
            seed: self.seed,
            subsets: self.subsets.clone(),
            answers: self.answers,
            valuesHash: self.values_hash,
            ldsPpm: self.lds_ppm,
            lowPpm: self.low_ppm,
            highPpm: self.high_ppm,
        }
        .abi_encode()
    }

    /// Keccak-256 of [`Certificate::encode`]: what the model registry is told.
    pub fn hash(&self) -> B256 {
        keccak256(self.encode())
    }

    /// Checks the certificate against the values it is made of.
    ///
    /// Errors: as [`certify`]; [`Error::CertificateMismatch`].
    pub fn verify(&self, predicted: &[Vec<i64>], actual: &[Vec<i64>]) -> Result<(), Error> {
        let design = Design::try_from(&self.design)?;
        let again = certify(&design, self.seed, self.subsets.len(), predicted, actual)?;
        if again == *self { Ok(()) } else { Err(Error::CertificateMismatch) }
    }

    /// Whether effects are paid under a floor in parts per million: by the lower end of the interval, so
    /// that chance lifts no model over the floor. As `influencePaidAt` of the market.
    pub fn influence(certificate: Option<&Self>, floor_ppm: u32) -> Influence {
        let certified = certificate.map_or(0, |certificate| certificate.low_ppm);
        if floor_ppm == 0 || i64::from(certified) >= i64::from(floor_ppm) {
            Influence::Paid
        } else {
            Influence::Commons
        }
    }
}

/// The players of a subset given as bits, one flag per player.
pub fn players_in(subset: u64, players: usize) -> Vec<bool> {
    (0..players).map(|player| subset >> player & 1 == 1).collect()
}

fn mask(subset: &[bool]) -> u64 {
    subset.iter().enumerate().fold(0, |mask, (player, inside)| mask | u64::from(*inside) << player)
}
