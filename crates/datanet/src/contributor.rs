//! Who brought a record: a wallet, or a name that a wallet will stand behind.

use std::fmt;
use std::str::FromStr;

use openledger_primitives::{Address, B256, keccak256};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unicode_normalization::UnicodeNormalization;

use crate::duplicate_key::is_default_ignorable;

/// UTF-8 bytes of a contributor's name.
pub const CONTRIBUTOR_NAME_BYTES_MAX: usize = 128;

/// What a name is hashed with, so that no name has the id of a wallet or of another kind of hash.
const NAME_TAG: &[u8] = b"openledger/contributor-name/1\0";

/// Why a text names no contributor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContributorError {
    /// Nothing, or only white space.
    #[error("the name is empty")]
    Empty,
    /// Longer than [`CONTRIBUTOR_NAME_BYTES_MAX`].
    #[error("the name is longer than {CONTRIBUTOR_NAME_BYTES_MAX} bytes")]
    TooLong,
    /// Control or invisible characters, by which two names could look the same.
    #[error("the name holds the control or invisible character U+{0:04X}")]
    Unprintable(u32),
    /// Begins with 0x, but is no address.
    #[error("{0:?} is no wallet address: 0x and 40 hexadecimal digits are needed")]
    NotAnAddress(String),
    /// Mixed case, but not the case EIP-55 asks for.
    #[error("the checksum of {0} does not match (EIP-55); check for a typing error")]
    Checksum(String),
}

/// The owner of a record.
///
/// As text: an EIP-55 address for a wallet, the name itself otherwise. A name never begins with `0x`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Contributor {
    /// Paid directly.
    Wallet(Address),
    /// Paid once a wallet is assigned.
    Name(ContributorName),
}

/// A contributor's name: NFC, trimmed, printable, at most [`CONTRIBUTOR_NAME_BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContributorName(String);

impl ContributorName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Errors: [`ContributorError`] if `text` is not a printable name of allowed length.
    pub fn new(text: &str) -> Result<Self, ContributorError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ContributorError::Empty);
        }
        if text.len() > CONTRIBUTOR_NAME_BYTES_MAX {
            return Err(ContributorError::TooLong);
        }
        if let Some(bad) = text.chars().find(|c| c.is_control() || is_default_ignorable(*c)) {
            return Err(ContributorError::Unprintable(u32::from(bad)));
        }
        if has_hex_prefix(text) {
            return Err(ContributorError::NotAnAddress(text.to_owned()));
        }
        let name: String = text.nfc().collect();
        // NFC may lengthen a text.
        if name.len() > CONTRIBUTOR_NAME_BYTES_MAX {
            return Err(ContributorError::TooLong);
        }
        Ok(Self(name))
    }
}

impl Contributor {
    /// The 32 bytes that stand for this contributor in a leaf: the address padded on the left with
    /// zeros, as `abi.encode(address)` gives, or keccak256(`openledger/contributor-name/1` ‖ 0x00 ‖ name).
    pub fn id(&self) -> B256 {
        match self {
            Self::Wallet(address) => address.into_word(),
            Self::Name(name) => keccak256([NAME_TAG, name.0.as_bytes()].concat()),
        }
    }

    /// The wallet, if there is one.
    pub fn wallet(&self) -> Option<Address> {
        match self {
            Self::Wallet(address) => Some(*address),
            Self::Name(_) => None,
        }
    }
}

impl FromStr for Contributor {
    type Err = ContributorError;

    fn from_str(text: &str) -> Result<Self, ContributorError> {
        let text = text.trim();
        if !has_hex_prefix(text) {
            return ContributorName::new(text).map(Self::Name);
        }
        let shown = || text.chars().take(64).collect::<String>();
        let digits = &text[2..];
        let address: Address = match digits.len() {
            40 => digits.parse().map_err(|_| ContributorError::NotAnAddress(shown()))?,
            _ => return Err(ContributorError::NotAnAddress(shown())),
        };
        let mixed = digits.contains(|c: char| c.is_ascii_lowercase())
            && digits.contains(|c: char| c.is_ascii_uppercase());
        if mixed && address.to_checksum(None)[2..] != *digits {
            return Err(ContributorError::Checksum(shown()));
        }
        Ok(Self::Wallet(address))
    }
}

fn has_hex_prefix(text: &str) -> bool {
    text.starts_with("0x") || text.starts_with("0X")
}

impl fmt::Display for Contributor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wallet(address) => f.write_str(&address.to_checksum(None)),
            Self::Name(name) => f.write_str(&name.0),
        }
    }
}

impl Serialize for Contributor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Contributor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EIP55: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

    #[test]
    fn a_wallet_is_read_in_any_uniform_case_and_in_its_checksum() {
        let expected = Contributor::Wallet(EIP55.parse().unwrap());
        for text in [
            EIP55.to_owned(),
            EIP55.to_lowercase(),
            format!("0x{}", EIP55[2..].to_uppercase()),
            format!("  {EIP55}\t"),
        ] {
            assert_eq!(text.parse::<Contributor>().unwrap(), expected, "{text}");
        }
        assert_eq!(expected.to_string(), EIP55);
    }

    #[test]
    fn a_mistyped_checksum_is_refused() {
        let swapped = EIP55.replace("aAeb", "AAeb");
        assert_eq!(swapped.parse::<Contributor>(), Err(ContributorError::Checksum(swapped)));
    }

    #[test]
    fn what_begins_with_0x_is_never_a_name() {
        for text in ["0x", "0xabc", "0X12", "0xZZaeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xé"] {
            assert!(matches!(text.parse::<Contributor>(), Err(ContributorError::NotAnAddress(_))));
            assert!(ContributorName::new(text).is_err());
        }
    }

    #[test]
    fn a_name_is_normalised_and_cannot_hide_characters() {
        let composed = ContributorName::new(" Zoë ").unwrap();
        assert_eq!(ContributorName::new("Zoe\u{308}").unwrap(), composed);
        for hidden in ["git\u{200b}", "a\u{202e}b", "a\nb", "a\0b"] {
            assert!(matches!(ContributorName::new(hidden), Err(ContributorError::Unprintable(_))));
        }
        assert_eq!(ContributorName::new(" \t"), Err(ContributorError::Empty));
        assert_eq!(ContributorName::new(&"x".repeat(129)), Err(ContributorError::TooLong));
    }

    #[test]
    fn ids_of_wallets_and_names_differ() {
        let wallet: Contributor = EIP55.parse().unwrap();
        assert_eq!(wallet.id()[..12], [0; 12]);
        let name: Contributor = "git".parse().unwrap();
        assert_ne!(name.id()[..12], [0; 12]);
        assert_ne!(name.id(), keccak256("git"));
    }
}
