//! RLPTests: items and their encodings, and bytes that are none.

use alloy_primitives::hex;
use alloy_rlp::{BufMut, Encodable, Header};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Case,
    verdict::{Failure, same},
};

#[derive(Deserialize)]
pub(super) struct RlpTest {
    #[serde(rename = "in")]
    item: Value,
    out: String,
}

pub(super) fn cases(name: &str, test: RlpTest) -> Vec<Case> {
    vec![Case::run(name, || check(&test))]
}

fn check(test: &RlpTest) -> Result<(), Failure> {
    let encoded = hex::decode(&test.out).map_err(|error| error.to_string())?;
    let decoded = Item::decode(&encoded);
    match &test.item {
        Value::String(text) if text == "INVALID" => match decoded {
            Ok(item) => Err(Failure::Wrong(format!("decoded to {item:?}"))),
            Err(_) => Ok(()),
        },
        Value::String(text) if text == "VALID" => {
            let item = decoded.map_err(|error| error.to_string())?;
            same("encoded again", &item.encode(), &encoded)
        }
        item => {
            let item = Item::from_json(item)?;
            same("encoding", &hex::encode(item.encode()), &hex::encode(&encoded))?;
            same("decoding", &decoded.map_err(|error| error.to_string())?, &item)
        }
    }
}

/// Any RLP item.
#[derive(Debug, PartialEq, Eq)]
enum Item {
    Bytes(Vec<u8>),
    List(Vec<Item>),
}

impl Item {
    /// A JSON value as the fixtures mean it: text, a number, `#` and a decimal number, or a list.
    fn from_json(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => match text.strip_prefix('#') {
                Some(digits) => big_endian(digits).map(Self::Bytes),
                None => Ok(Self::Bytes(text.as_bytes().to_vec())),
            },
            Value::Number(number) => big_endian(&number.to_string()).map(Self::Bytes),
            Value::Array(items) => {
                items.iter().map(Self::from_json).collect::<Result<_, _>>().map(Self::List)
            }
            other => Err(format!("{other} is no RLP item")),
        }
    }

    /// Decodes exactly one item.
    fn decode(mut bytes: &[u8]) -> alloy_rlp::Result<Self> {
        let item = Self::decode_next(&mut bytes)?;
        if bytes.is_empty() { Ok(item) } else { Err(alloy_rlp::Error::UnexpectedLength) }
    }

    fn decode_next(bytes: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let header = Header::decode(bytes)?;
        let (mut payload, rest) = bytes.split_at(header.payload_length);
        *bytes = rest;
        if !header.list {
            return Ok(Self::Bytes(payload.to_vec()));
        }
        let mut items = Vec::new();
        while !payload.is_empty() {
            items.push(Self::decode_next(&mut payload)?);
        }
        Ok(Self::List(items))
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Bytes(bytes) => bytes.as_slice().encode(&mut out),
            Self::List(items) => {
                let payload: Vec<u8> = items.iter().flat_map(Self::encode).collect();
                Header { list: true, payload_length: payload.len() }.encode(&mut out);
                out.put_slice(&payload);
            }
        }
        out
    }
}

/// A decimal number's bytes, big-endian, without leading zeros. The fixtures hold one of 257 bits, so
/// this is long division by hand.
fn big_endian(digits: &str) -> Result<Vec<u8>, String> {
    let mut bytes: Vec<u8> = Vec::new();
    for digit in digits.chars() {
        let mut carry = digit.to_digit(10).ok_or_else(|| format!("{digits} is no number"))?;
        for byte in bytes.iter_mut().rev() {
            let value = u32::from(*byte) * 10 + carry;
            *byte = value.to_be_bytes()[3];
            carry = value >> 8;
        }
        if carry > 0 {
            bytes.insert(0, carry.to_be_bytes()[3]);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::U256;

    use super::*;

    #[test]
    fn decimal_numbers_of_any_length_become_bytes() {
        assert_eq!(big_endian("0").unwrap(), Vec::<u8>::new());
        assert_eq!(big_endian("256").unwrap(), [1, 0]);
        for number in [1u128, 255, 65_536, u128::MAX] {
            let want = U256::from(number).to_be_bytes_trimmed_vec();
            assert_eq!(big_endian(&number.to_string()).unwrap(), want);
        }
        assert!(big_endian("1x").is_err());
    }
}
