//! The allocation as a data directory keeps it: geth's shape, but code that several accounts share is
//! written once. Two thousand proxies would otherwise be ten megabytes.

use std::collections::{BTreeMap, HashMap};

use alloy_primitives::{Address, B256, Bytes, U64, U256};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::GenesisAccount;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
#[derive(Default)]
struct Stored {
    #[serde(skip_serializing_if = "U256::is_zero")]
    balance: U256,
    #[serde(skip_serializing_if = "U64::is_zero")]
    nonce: U64,
    #[serde(skip_serializing_if = "<[u8]>::is_empty")]
    code: Bytes,
    /// Has the code of the account at this address, which has code of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    code_of: Option<Address>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    storage: BTreeMap<B256, B256>,
}

pub(super) fn serialize<S: Serializer>(
    alloc: &BTreeMap<Address, GenesisAccount>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut first: HashMap<&Bytes, Address> = HashMap::new();
    serializer.collect_map(alloc.iter().map(|(address, account)| {
        let holder = *first.entry(&account.code).or_insert(*address);
        let shared = holder != *address && !account.code.is_empty();
        let stored = Stored {
            balance: account.balance,
            nonce: U64::from(account.nonce),
            code: if shared { Bytes::new() } else { account.code.clone() },
            code_of: shared.then_some(holder),
            storage: account.storage.clone(),
        };
        (address, stored)
    }))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<Address, GenesisAccount>, D::Error> {
    let stored = BTreeMap::<Address, Stored>::deserialize(deserializer)?;
    let code = |account: &Stored| match account.code_of {
        None => Ok(account.code.clone()),
        Some(_) if !account.code.is_empty() => Err(D::Error::custom("code and codeOf together")),
        Some(holder) => match stored.get(&holder) {
            Some(holder) if !holder.code.is_empty() => Ok(holder.code.clone()),
            _ => Err(D::Error::custom(format!("codeOf {holder}, which has no code of its own"))),
        },
    };
    let accounts = stored.iter().map(|(address, account)| {
        let (balance, nonce) = (account.balance, account.nonce.to());
        let storage = account.storage.clone();
        Ok((*address, GenesisAccount { balance, nonce, code: code(account)?, storage }))
    });
    accounts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Wrapper(#[serde(with = "super")] BTreeMap<Address, GenesisAccount>);

    fn with_code(code: &[u8]) -> GenesisAccount {
        GenesisAccount { code: Bytes::copy_from_slice(code), ..GenesisAccount::default() }
    }

    #[test]
    fn shared_code_is_written_once_and_read_back_everywhere() {
        let codes: [&[u8]; 5] = [b"", b"proxy", b"", b"proxy", b"other"];
        let alloc: BTreeMap<_, _> = (0u8..)
            .zip(codes)
            .map(|(index, code)| (Address::with_last_byte(index), with_code(code)))
            .collect();
        let json = serde_json::to_string(&Wrapper(alloc.clone())).unwrap();
        assert_eq!(json.matches(&alloy_primitives::hex::encode("proxy")).count(), 1);
        assert_eq!(serde_json::from_str::<Wrapper>(&json).unwrap().0, alloc);
    }

    #[test]
    fn code_of_an_account_without_code_is_refused() {
        let holder = Address::with_last_byte(1);
        for bad in [
            format!(r#"{{"{}": {{"codeOf": "{holder}"}}}}"#, Address::ZERO),
            format!(r#"{{"{holder}": {{"codeOf": "{holder}"}}}}"#),
            format!(
                r#"{{"{}": {{"code": "0x00", "codeOf": "{holder}"}}, "{holder}": {{"code": "0x00"}}}}"#,
                Address::ZERO
            ),
        ] {
            assert!(serde_json::from_str::<Wrapper>(&bad).is_err(), "{bad}");
        }
    }
}
