//! Values as the fixtures write them: hex with leading zeros, empty strings, decimal numbers.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use openledger_chain::GenesisAccount;
use serde::{Deserialize, Deserializer, de::Error as _};

/// A number of at most 256 bits: `"0x0a"`, `"10"`, `""`, or a JSON number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quantity(pub(crate) U256);

impl Quantity {
    pub(crate) fn u64(self) -> u64 {
        self.0.saturating_to()
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (digits, radix) = match text.strip_prefix("0x") {
            Some(digits) => (digits, 16),
            None => (text, 10),
        };
        if digits.is_empty() {
            return Ok(Self::default());
        }
        U256::from_str_radix(digits, radix)
            .map(Self)
            .map_err(|error| format!("{text:?} is not a number of 256 bits: {error}"))
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Self::parse(&text).map_err(D::Error::custom),
            serde_json::Value::Number(number) => {
                let number = number.as_u64().ok_or_else(|| D::Error::custom("no whole number"))?;
                Ok(Self(U256::from(number)))
            }
            other => Err(D::Error::custom(format!("{other} is not a number"))),
        }
    }
}

/// Bytes in hex, with or without `0x`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hex(pub(crate) Bytes);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode(&text).map(|bytes| Self(bytes.into())).map_err(D::Error::custom)
    }
}

/// An account of a pre or post state.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Account {
    #[serde(default)]
    balance: Quantity,
    #[serde(default)]
    nonce: Quantity,
    #[serde(default)]
    code: Hex,
    #[serde(default)]
    storage: BTreeMap<String, Quantity>,
}

/// Accounts by address.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Accounts(BTreeMap<String, Account>);

impl Accounts {
    /// The accounts as a genesis holds them.
    ///
    /// Errors: an address or a slot that cannot be read, or a nonce of more than 64 bits.
    pub(crate) fn alloc(self) -> Result<Vec<(Address, GenesisAccount)>, String> {
        let account = |(address, account): (String, Account)| {
            let address: Address =
                address.parse().map_err(|error| format!("address {address}: {error}"))?;
            let nonce = account.nonce.0.try_into().map_err(|_| format!("nonce of {address}"))?;
            let slot = |(slot, value): (String, Quantity)| {
                Ok((B256::from(Quantity::parse(&slot)?.0), B256::from(value.0)))
            };
            let storage = account.storage.into_iter().map(slot).collect::<Result<_, String>>()?;
            let (balance, code) = (account.balance.0, account.code.0);
            Ok((address, GenesisAccount { balance, nonce, code, storage }))
        };
        self.0.into_iter().map(account).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_every_form_that_the_fixtures_use() {
        let read = |json: &str| serde_json::from_str::<Quantity>(json).map(|quantity| quantity.0);
        for (json, number) in
            [("\"0x0a\"", 10), ("\"10\"", 10), ("\"0x\"", 0), ("\"\"", 0), ("7", 7)]
        {
            assert_eq!(read(json).unwrap(), U256::from(number), "{json}");
        }
        for bad in ["\"0xzz\"", "-1", "null", &format!("\"0x1{}\"", "0".repeat(64))] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
