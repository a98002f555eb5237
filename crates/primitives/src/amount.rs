use core::{fmt, str::FromStr};

use alloy_primitives::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// An amount of OPEN in wei (10⁻¹⁸ OPEN).
///
/// The whole supply of 10⁹ OPEN is below 2⁹⁰ wei, so 128 bits never bind in practice; arithmetic is
/// checked all the same. Serialised as a decimal string of wei, because JSON numbers lose digits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpenAmount(u128);

impl OpenAmount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One OPEN.
    pub const ONE: Self = Self(1_000_000_000_000_000_000);

    /// An amount of `wei`.
    pub const fn from_wei(wei: u128) -> Self {
        Self(wei)
    }

    /// The amount in wei.
    pub const fn wei(self) -> u128 {
        self.0
    }

    /// Sum, or `None` above 2¹²⁸ − 1 wei.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Difference, or `None` below zero.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// ⌊self · numerator / denominator⌋ with a 256-bit product, or `None` if the result does not fit
    /// or `denominator` is zero.
    pub fn mul_div_down(self, numerator: u128, denominator: u128) -> Option<Self> {
        let product = U256::from(self.0) * U256::from(numerator);
        let quotient = product.checked_div(U256::from(denominator))?;
        u128::try_from(quotient).ok().map(Self)
    }
}

impl From<OpenAmount> for U256 {
    fn from(amount: OpenAmount) -> Self {
        Self::from(amount.0)
    }
}

impl TryFrom<U256> for OpenAmount {
    type Error = ParseAmountError;

    fn try_from(wei: U256) -> Result<Self, ParseAmountError> {
        u128::try_from(wei).map(Self).map_err(|_| ParseAmountError::TooLarge)
    }
}

/// Why a text or a number is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseAmountError {
    /// Not `digits` or `digits.digits`.
    #[error("not a decimal amount of OPEN; write for example 0.25")]
    NotDecimal,
    /// More than 18 decimals.
    #[error("OPEN has 18 decimals; the amount has more")]
    TooPrecise,
    /// Above 2¹²⁸ − 1 wei.
    #[error("the amount is larger than any possible supply")]
    TooLarge,
}

/// Parses OPEN, not wei: `"0.25"` is a quarter of an OPEN.
impl FromStr for OpenAmount {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, ParseAmountError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(ParseAmountError::NotDecimal);
        }
        if fraction.len() > 18 {
            return Err(ParseAmountError::TooPrecise);
        }
        let whole: u128 = whole.parse().map_err(|_| ParseAmountError::TooLarge)?;
        let fraction: u128 =
            format!("{fraction:0<18}").parse().map_err(|_| ParseAmountError::TooLarge)?;
        whole
            .checked_mul(Self::ONE.0)
            .and_then(|wei| wei.checked_add(fraction))
            .map(Self)
            .ok_or(ParseAmountError::TooLarge)
    }
}

/// Writes OPEN with as many decimals as the amount has; a precision (`{:.4}`) cuts, never rounds up.
impl fmt::Display for OpenAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0 / Self::ONE.0;
        let fraction = format!("{:018}", self.0 % Self::ONE.0);
        let decimals = match f.precision() {
            Some(precision) => &fraction[..precision.min(18)],
            None => fraction.trim_end_matches('0'),
        };
        let text =
            if decimals.is_empty() { whole.to_string() } else { format!("{whole}.{decimals}") };
        match f.width() {
            Some(width) => write!(f, "{text:>width$}"),
            None => f.write_str(&text),
        }
    }
}

impl Serialize for OpenAmount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for OpenAmount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| D::Error::custom("expected a decimal string of wei"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_written_and_read_as_open() {
        for (text, wei) in [("0.25", 250_000_000_000_000_000), ("1", 10u128.pow(18)), ("0", 0)] {
            let amount: OpenAmount = text.parse().unwrap();
            assert_eq!(amount.wei(), wei);
            assert_eq!(amount.to_string(), text);
        }
        assert_eq!(format!("{:.4}", OpenAmount::from_wei(18_499_999_999_999_999)), "0.0184");
        assert_eq!("1.".parse::<OpenAmount>(), Err(ParseAmountError::NotDecimal));
        assert_eq!("-1".parse::<OpenAmount>(), Err(ParseAmountError::NotDecimal));
        assert_eq!(
            "0.0000000000000000001".parse::<OpenAmount>(),
            Err(ParseAmountError::TooPrecise)
        );
    }

    proptest! {
        #[test]
        fn every_amount_survives_text_and_json(wei: u128) {
            let amount = OpenAmount::from_wei(wei);
            prop_assert_eq!(amount.to_string().parse::<OpenAmount>().unwrap(), amount);
            let json = serde_json::to_string(&amount).unwrap();
            prop_assert_eq!(serde_json::from_str::<OpenAmount>(&json).unwrap(), amount);
        }
    }
}
