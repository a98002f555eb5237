use serde::{Deserialize, Serialize};

use crate::{OpenAmount, Share};

/// Price of a model in wei per 1,000 tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Per 1,000 prompt tokens.
    pub input: OpenAmount,
    /// Per 1,000 answer tokens.
    pub output: OpenAmount,
}

/// How a fee is divided, in basis points. Held on chain, changed only by governance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitBps {
    /// Platform fee on top of the token fee.
    pub platform: u16,
    /// Part of the token fee for the operator that served the answer.
    pub compute: u16,
    /// Part for the model's owner and its lineage.
    pub model: u16,
    /// Part for stakers; goes to the commons while nobody stakes.
    pub stakers: u16,
}

impl SplitBps {
    /// Devnet defaults; data gets the remaining 60 %.
    pub const DEVNET: Self = Self { platform: 500, compute: 1_500, model: 1_500, stakers: 1_000 };
}

/// Where every wei of a fee goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeeParts {
    /// What the payer pays.
    pub fee: OpenAmount,
    /// To the platform.
    pub platform: OpenAmount,
    /// To the operator.
    pub compute: OpenAmount,
    /// To the model's owner and its lineage.
    pub model: OpenAmount,
    /// To stakers.
    pub stakers: OpenAmount,
    /// To each payee, in the order of the shares given.
    pub paid: Vec<OpenAmount>,
    /// To the commons: what nobody earned, and every rounding remainder.
    pub commons: OpenAmount,
}

/// Why a fee cannot be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FeeError {
    /// A product or sum left 128 bits.
    #[error("the fee does not fit in 128 bits; the price or the token count is absurd")]
    Overflow,
    /// Compute, model and stakers together above 100 %.
    #[error("the split gives away more than 100 % of the token fee")]
    SplitAboveWhole,
    /// Shares together above the whole.
    #[error("the shares sum to more than the whole")]
    SharesAboveWhole,
}

const BPS: u128 = 10_000;

/// The fee for an answer: ⌊(T_in·R_in + T_out·R_out) / 1000⌋ plus the platform's part of it.
///
/// Errors: [`FeeError::Overflow`].
pub fn fee(
    price: Price,
    tokens_in: u64,
    tokens_out: u64,
    split: SplitBps,
) -> Result<OpenAmount, FeeError> {
    let token_fee = token_fee(price, tokens_in, tokens_out)?;
    let platform = part(token_fee, split.platform)?;
    token_fee.checked_add(platform).ok_or(FeeError::Overflow)
}

/// Divides the fee for an answer among everyone it pays, to the wei.
///
/// Every part is rounded down; what is left, including all remainders and, while nobody stakes, the
/// stakers' part, is the commons'. Errors: [`FeeError`].
pub fn split_fee(
    price: Price,
    tokens_in: u64,
    tokens_out: u64,
    split: SplitBps,
    somebody_stakes: bool,
    shares: &[Share],
) -> Result<FeeParts, FeeError> {
    let token_fee = token_fee(price, tokens_in, tokens_out)?;
    let platform = part(token_fee, split.platform)?;
    let fee = token_fee.checked_add(platform).ok_or(FeeError::Overflow)?;
    let compute = part(token_fee, split.compute)?;
    let model = part(token_fee, split.model)?;
    let stakers_pot = part(token_fee, split.stakers)?;
    let data = [compute, model, stakers_pot]
        .into_iter()
        .try_fold(token_fee, OpenAmount::checked_sub)
        .ok_or(FeeError::SplitAboveWhole)?;
    shares
        .iter()
        .try_fold(Share::ZERO, |sum, share| sum.checked_add(*share))
        .ok_or(FeeError::SharesAboveWhole)?;
    let paid = shares
        .iter()
        .map(|share| data.mul_div_down(share.parts().into(), Share::ONE.parts().into()))
        .collect::<Option<Vec<_>>>()
        .ok_or(FeeError::Overflow)?;
    let stakers = if somebody_stakes { stakers_pot } else { OpenAmount::ZERO };
    let commons = paid
        .iter()
        .copied()
        .chain([platform, compute, model, stakers])
        .try_fold(fee, OpenAmount::checked_sub)
        .expect("floors of parts of a whole never exceed the whole");
    let parts = FeeParts { fee, platform, compute, model, stakers, paid, commons };
    assert_eq!(parts.sum(), Some(fee), "conservation: the parts of a fee are the fee");
    Ok(parts)
}

impl FeeParts {
    /// Sum of all parts; equals `fee` for a split that [`split_fee`] made.
    pub fn sum(&self) -> Option<OpenAmount> {
        self.paid
            .iter()
            .copied()
            .chain([self.platform, self.compute, self.model, self.stakers, self.commons])
            .try_fold(OpenAmount::ZERO, OpenAmount::checked_add)
    }
}

fn token_fee(price: Price, tokens_in: u64, tokens_out: u64) -> Result<OpenAmount, FeeError> {
    let input = price.input.wei().checked_mul(tokens_in.into());
    let output = price.output.wei().checked_mul(tokens_out.into());
    input
        .zip(output)
        .and_then(|(input, output)| input.checked_add(output))
        .map(|milli| OpenAmount::from_wei(milli / 1_000))
        .ok_or(FeeError::Overflow)
}

fn part(whole: OpenAmount, bps: u16) -> Result<OpenAmount, FeeError> {
    whole.mul_div_down(bps.into(), BPS).ok_or(FeeError::Overflow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn price(input: u128, output: u128) -> Price {
        Price { input: OpenAmount::from_wei(input), output: OpenAmount::from_wei(output) }
    }

    #[test]
    fn the_devnet_split_of_a_known_fee() {
        let half = Share::from_parts(1 << 31).unwrap();
        let parts =
            split_fee(price(10_000, 30_000), 100, 300, SplitBps::DEVNET, false, &[half]).unwrap();
        assert_eq!(parts.fee.wei(), 10_500);
        assert_eq!(parts.platform.wei(), 500);
        assert_eq!((parts.compute.wei(), parts.model.wei()), (1_500, 1_500));
        assert_eq!(parts.stakers.wei(), 0);
        assert_eq!(parts.paid[0].wei(), 3_000);
        assert_eq!(parts.commons.wei(), 4_000);
    }

    #[test]
    fn shares_above_the_whole_are_refused() {
        let shares = [Share::ONE, Share::from_parts(1).unwrap()];
        let error = split_fee(price(1, 1), 1, 1, SplitBps::DEVNET, true, &shares).unwrap_err();
        assert_eq!(error, FeeError::SharesAboveWhole);
    }

    proptest! {
        #[test]
        fn every_wei_of_every_fee_has_one_owner(
            input in 0u128..1 << 90, output in 0u128..1 << 90,
            tokens_in in 0u64..1 << 32, tokens_out in 0u64..1 << 32,
            cuts in prop::collection::vec(0u64..=1 << 32, 0..20), stakes: bool,
        ) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let shares: Vec<_> = cuts.windows(2).map(|w| Share::from_parts(w[1] - w[0]).unwrap()).collect();
            let parts = split_fee(price(input, output), tokens_in, tokens_out, SplitBps::DEVNET, stakes, &shares).unwrap();
            prop_assert_eq!(parts.sum(), Some(parts.fee));
            prop_assert_eq!(parts.fee, fee(price(input, output), tokens_in, tokens_out, SplitBps::DEVNET).unwrap());
        }
    }
}
