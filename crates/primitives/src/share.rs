use core::fmt;

use serde::{Deserialize, Serialize};

/// A part of a whole, in units of 2⁻³².
///
/// `Share::ONE` is the whole, so a share needs 33 bits and is kept in a `u64`, as in the contract.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Share(u64);

impl Share {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The whole.
    pub const ONE: Self = Self(1 << 32);

    /// `parts` of 2³², or `None` above the whole.
    pub const fn from_parts(parts: u64) -> Option<Self> {
        if parts <= Self::ONE.0 { Some(Self(parts)) } else { None }
    }

    /// The share in parts of 2³².
    pub const fn parts(self) -> u64 {
        self.0
    }

    /// Parts per million, rounded down; for display only.
    pub const fn ppm(self) -> u64 {
        self.0 * 1_000_000 / Self::ONE.0
    }

    /// Sum, or `None` above the whole.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        Self::from_parts(self.0 + other.0)
    }

    /// What is left of the whole.
    pub const fn complement(self) -> Self {
        Self(Self::ONE.0 - self.0)
    }
}

/// Writes a percentage with one decimal, cut, not rounded.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0 * 1_000 / Self::ONE.0;
        f.pad(&format!("{}.{} %", tenths / 10, tenths % 10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_never_exceeds_the_whole() {
        assert_eq!(Share::from_parts((1 << 32) + 1), None);
        assert_eq!(Share::ONE.checked_add(Share::from_parts(1).unwrap()), None);
        assert_eq!(Share::ZERO.complement(), Share::ONE);
        assert_eq!(Share::ONE.to_string(), "100.0 %");
        assert_eq!(Share::from_parts(1 << 31).unwrap().ppm(), 500_000);
    }
}
