//! Parameters in hexadecimal that must be written as geth wants them.

use std::str::FromStr;

use alloy_primitives::B256;
use alloy_serde::JsonStorageKey;
use serde::{Deserialize, Deserializer, de::Error};

/// Hexadecimal digits of a storage slot's number.
const SLOT_DIGITS_MAX: usize = 64;

/// A hash that begins with `0x`. A `B256` alone is read without it too.
pub(super) struct PrefixedHash(pub(super) B256);

impl<'de> Deserialize<'de> for PrefixedHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if !text.starts_with("0x") {
            return Err(D::Error::custom(format!("the hash {text:?} does not begin with 0x")));
        }
        text.parse().map(Self).map_err(|error| D::Error::custom(format!("hash {text:?}: {error}")))
    }
}

/// The number of a storage slot: at most 32 bytes as it is written, leading zeros included.
pub(super) struct StorageKey(pub(super) JsonStorageKey);

impl<'de> Deserialize<'de> for StorageKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").unwrap_or(&text);
        if digits.len() > SLOT_DIGITS_MAX {
            let message = format!("storage key too long (want at most 32 bytes): {text:?}");
            return Err(D::Error::custom(message));
        }
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(D::Error::custom(format!("invalid hex in storage key: {text:?}")));
        }
        let key = JsonStorageKey::from_str(&format!("0x{digits}"));
        key.map(Self).map_err(|error| D::Error::custom(format!("storage key {text:?}: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::U256;
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_hash_begins_with_0x() {
        let digits = "1".repeat(64);
        let PrefixedHash(hash) = from_value(json!(format!("0x{digits}"))).unwrap();
        assert_eq!(hash, B256::repeat_byte(0x11));
        for bad in [json!(digits), json!("0x11"), json!(format!("0x{digits}1")), json!(1)] {
            assert!(from_value::<PrefixedHash>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_slot_has_at_most_32_bytes_as_it_is_written() {
        let whole = format!("0x{}", "0".repeat(64));
        for (text, value, echo) in [
            ("0x5", 5, "0x5"),
            ("0x005", 5, "0x5"),
            ("a", 10, "0xa"),
            (whole.as_str(), 0, whole.as_str()),
        ] {
            let StorageKey(key) = from_value(json!(text)).unwrap();
            assert_eq!(U256::from_be_bytes(key.as_b256().0), U256::from(value), "{text}");
            assert_eq!(json!(key), json!(echo), "a proof shows the key as it was asked for");
        }
        for bad in [format!("{whole}0").as_str(), "0x", "", "0xasdf", "0x-1", "0x1_0"] {
            assert!(from_value::<StorageKey>(json!(bad)).is_err(), "{bad}");
        }
        assert!(from_value::<StorageKey>(json!(5)).is_err(), "a number is no key");
    }
}
