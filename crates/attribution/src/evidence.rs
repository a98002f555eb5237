//! Everything an auditor needs to derive the shares of one answer again.

mod encoding;

pub use encoding::{EvidenceInputs, SpanInput};

use openledger_primitives::{B256, Share};
use serde::{Deserialize, Serialize};

use crate::{
    Design, DesignRef, Error, Influence, Shares, SpanCredit, SpanMatch, Step, charge, effects,
    explained, noise_floor, shares,
};

/// What was measured about one answer. Whether it is true takes the adapters, the base and the records
/// to check; what follows from it takes only [`Inputs::derive`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// The design of the model's counterfactual adapters.
    pub design: DesignRef,
    /// v(S_r) for each run r: log-likelihood of the answer, in units of 2⁻²⁰ nat.
    pub values: Vec<i64>,
    /// −log p of each answer token under the base, in units of 2⁻²⁰ nat. Its length is T; the values
    /// are sums over the same tokens.
    pub surprisals: Vec<u64>,
    /// Whether effects are paid; by the model's certificate and the governance floor of the moment.
    pub influence: Influence,
    /// What the span index found.
    pub matches: Vec<SpanMatch>,
    /// Decides between equal remainders; the hash of the salted answer.
    pub tie_seed: B256,
}

/// What follows from the inputs of one answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// m·φ_c of each player, in units of 2⁻²⁰ nat.
    pub effects: Vec<i64>,
    /// What an effect must exceed to be paid, in the same units.
    pub noise_floor: i64,
    /// ε: what is explained is paid or goes to the commons by rule, the rest to the commons.
    pub explained: Share,
    /// Spans and their surprisal; a = covered / total.
    pub credit: SpanCredit,
    /// Who gets what.
    pub shares: Shares,
}

/// Inputs and outcome of one answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// What was measured.
    pub inputs: Inputs,
    /// What is claimed to follow.
    pub outcome: Outcome,
}

impl Inputs {
    /// Derives shares from what was measured.
    ///
    /// Errors: those of [`Design::with_order`], [`effects`] and [`charge`], and [`Error::DesignHash`].
    pub fn derive(&self) -> Result<Outcome, Error> {
        self.walk(None)
    }

    /// Takes the steps in order; with a record at hand, stops at the first that it has otherwise.
    fn walk(&self, recorded: Option<&Outcome>) -> Result<Outcome, Error> {
        let design = Design::try_from(&self.design)?;
        let (base, published) = (design.order(), 0);

        let effects = effects(&design, &self.values)?;
        let per_player = effects.per_player().to_vec();
        agree(Step::Effects, &per_player, recorded.map(|r| &r.effects))?;

        let noise_floor = noise_floor(&effects);
        agree(Step::NoiseFloor, &noise_floor, recorded.map(|r| &r.noise_floor))?;

        let tokens = self.surprisals.len() as u64;
        let explained = explained(self.values[base], self.values[published], tokens);
        agree(Step::Explained, &explained, recorded.map(|r| &r.explained))?;

        let credit = charge(design.players(), &self.surprisals, &self.matches)?;
        agree(Step::Spans, &credit, recorded.map(|r| &r.credit))?;

        let shares =
            shares(explained, &effects, noise_floor, self.influence, &credit, self.tie_seed);
        agree(Step::Shares, &shares, recorded.map(|r| &r.shares))?;

        Ok(Outcome { effects: per_player, noise_floor, explained, credit, shares })
    }
}

impl Evidence {
    /// The evidence for what was measured.
    ///
    /// Errors: as [`Inputs::derive`].
    pub fn new(inputs: Inputs) -> Result<Self, Error> {
        let outcome = inputs.derive()?;
        Ok(Self { inputs, outcome })
    }

    /// Checks that the outcome follows from the inputs.
    ///
    /// Errors: the first step that does not hold, by [`Error::step`]: [`Error::Mismatch`] where a
    /// recorded number is another than the derived one, else what is wrong with the inputs.
    pub fn verify(&self) -> Result<(), Error> {
        self.inputs.walk(Some(&self.outcome)).map(|_| ())
    }
}

fn agree<T: PartialEq>(step: Step, derived: &T, recorded: Option<&T>) -> Result<(), Error> {
    match recorded {
        Some(recorded) if recorded != derived => Err(Error::Mismatch(step)),
        _ => Ok(()),
    }
}
