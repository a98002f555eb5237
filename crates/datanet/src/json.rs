//! JSON without the two liberties of common parsers: a repeated key is an error, and nothing is lost
//! silently. Depth is bounded by serde_json (128), size by the line limit.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use crate::RowError;

/// A JSON value. Numbers and booleans are kept by kind only, as no field of a record is one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Bool,
    Number,
    String(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// What an error message calls this value.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// Parses one line. On failure also returns the column (in bytes, from 1) where parsing stopped.
pub(crate) fn parse(line: &str) -> Result<Json, (RowError, Option<usize>)> {
    serde_json::from_str(line).map_err(|error| {
        let column = Some(error.column()).filter(|column| *column > 0);
        let text = error.to_string();
        // serde_json appends " at line 1 column n", which would contradict the line of the file.
        let reason = text.split(" at line ").next().unwrap_or_default().to_owned();
        let fault = match error.classify() {
            // The only data error that a `Json` can meet is the one raised in `visit_map` below.
            Category::Data => RowError::DuplicateKey { reason },
            _ => RowError::InvalidJson { reason },
        };
        (fault, column)
    })
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Bool)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(Json::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Number)
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut object = BTreeMap::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                let shown: String = key.chars().take(40).collect();
                return Err(A::Error::custom(format_args!("the key {shown:?} stands twice")));
            }
            object.insert(key, entries.next_value()?);
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_key_is_an_error_at_every_depth() {
        for line in [r#"{"a":1,"a":2}"#, r#"[{"b":{"a":1,"\u0061":1}}]"#] {
            assert!(matches!(parse(line), Err((RowError::DuplicateKey { .. }, Some(_)))), "{line}");
        }
        assert!(parse(r#"{"a":{"a":1},"b":[{"a":1}]}"#).is_ok());
    }

    #[test]
    fn deep_nesting_is_refused_and_not_recursed_into() {
        for open in ["[", "{\"a\":"] {
            let (fault, _) = parse(&open.repeat(100_000)).unwrap_err();
            assert!(
                matches!(&fault, RowError::InvalidJson { reason } if reason.contains("recursion"))
            );
        }
    }

    #[test]
    fn a_lone_surrogate_and_a_huge_number_are_errors() {
        for line in [r#""\ud800""#, "1e999", "nan", "{\"a\":1} x", ""] {
            assert!(matches!(parse(line), Err((RowError::InvalidJson { .. }, _))), "{line}");
        }
    }

    #[test]
    fn the_column_points_at_the_fault() {
        assert_eq!(parse(r#"{"prompt": oops}"#).unwrap_err().1, Some(12));
    }
}
