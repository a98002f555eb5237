//! Entrance for the fuzz target (`fuzz/`) of what a client writes: the schema of an answer.
//!
//! Compiled under `cfg(fuzzing)`, and in tests, which run it on mutations of good schemas.

use std::sync::OnceLock;

use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::{AllowedTokens, Error, Grammars, grammar::Matcher};

/// Most tokens of an answer that is drawn.
const TOKENS_MAX: usize = 200;
/// Divides the schema from the draws: JSON has no such byte.
const DIVIDER: u8 = 0;

/// Schemas that are taken, each with draws for an answer.
pub fn seeds() -> Vec<Vec<u8>> {
    let person = json!({
        "type": "object", "required": ["name", "tags"], "additionalProperties": false,
        "properties": {
            "name": { "type": "string", "maxLength": 12, "description": "whose" },
            "age": { "type": "integer", "minimum": 0, "exclusiveMaximum": 131 },
            "tags": { "type": "array", "minItems": 1, "maxItems": 3, "items": { "enum": ["a", "é\"", 1.5] } },
            "parent": { "anyOf": [{ "type": "null" }, { "$ref": "#/$defs/parent" }] },
        },
        "$defs": { "parent": {
            "type": "object", "properties": { "born": { "type": "string", "format": "date" } },
            "required": ["born"], "additionalProperties": { "type": "boolean" },
        } },
    });
    let values = json!({
        "anyOf": [
            { "const": { "kind": "x" } },
            { "type": "string", "pattern": "^[a-c]{2,5}(-\\d+)?$" },
            { "type": "number", "minimum": -1.5, "maximum": 1e3 },
            { "type": "integer", "multipleOf": 7 },
            { "type": "array", "prefixItems": [{ "type": "boolean" }, {}], "items": false },
            { "allOf": [{ "type": "null" }] },
            { "type": "array", "items": { "$ref": "#" }, "maxItems": 2 },
        ],
    });
    let any = json!({ "type": ["object", "array"], "minProperties": 1, "maxProperties": 4 });
    let with_draws = |schema: Value| {
        let draws = (0..64).map(|i: u8| i.wrapping_mul(97));
        schema.to_string().into_bytes().into_iter().chain([DIVIDER]).chain(draws).collect()
    };
    [person, values, any, json!({})].map(with_draws).to_vec()
}

/// A schema and what an answer draws: refused by name, or an answer that ends is a document of the schema.
pub fn response_format(bytes: &[u8]) {
    let (schema, draws) = match bytes.iter().position(|byte| *byte == DIVIDER) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[][..]),
    };
    let Ok(schema) = serde_json::from_slice::<Value>(schema) else { return };
    static GRAMMARS: OnceLock<(Grammars, Vec<Vec<u8>>)> = OnceLock::new();
    let (grammars, words) = GRAMMARS.get_or_init(|| {
        let words = words();
        let end = words.len() as u32 - 1;
        (Grammars::of_words(&words, end).expect("a vocabulary"), words)
    });
    let grammar = match grammars.schema(&schema) {
        Ok(grammar) => grammar,
        Err(Error::Invalid { field: "response_format", why }) => {
            return assert!(!why.is_empty(), "a refusal says why");
        }
        Err(other) => panic!("a schema was refused as something else: {other}"),
    };
    let Some(text) = draw(&mut grammar.matcher(), words, draws) else { return };
    let read: Result<IgnoredAny, _> = serde_json::from_slice(&text);
    assert!(read.is_ok(), "{schema} ended with {}", String::from_utf8_lossy(&text));
    // A number may be larger than f64 has room for; then it is JSON and no value.
    if let Ok(value) = serde_json::from_slice::<Value>(&text) {
        assert!(!contradicts(&schema, &value), "{schema} ended with {value}");
    }
}

/// All bytes, tokens that cross what a grammar sees as parts, and the end of an answer as the last.
fn words() -> Vec<Vec<u8>> {
    let longer =
        ["{\"", "\":", "\"}", "}}", "],[", "\": \"", "true", "null,", "12", "\\u0", "é", " \n "];
    let longer = longer.map(|text| text.as_bytes().to_vec());
    (0..=255).map(|byte| vec![byte]).chain(longer).chain([b"\xFF<|end|>".to_vec()]).collect()
}

/// An answer whose tokens are chosen by `draws`, the last of which goes on. `None` if it does not end.
fn draw(matcher: &mut Matcher, words: &[Vec<u8>], draws: &[u8]) -> Option<Vec<u8>> {
    let end = words.len() as u32 - 1;
    let mut text = Vec::new();
    for step in 0..TOKENS_MAX {
        // A budget may be spent: the answer is then ended by the engine, not by the grammar.
        let allowed = matcher.allowed().ok()?;
        let draw = draws.get(step).or(draws.last()).copied().unwrap_or_default();
        let token = choose(&allowed, end, draw).expect("at least one token is allowed");
        if token == end {
            return Some(text);
        }
        text.extend(&words[token as usize]);
        if matcher.push(token).ok()? {
            return Some(text);
        }
    }
    None
}

/// The allowed token that `draw` points at, counted round.
fn choose(allowed: &AllowedTokens, end: u32, draw: u8) -> Option<u32> {
    let tokens: Vec<u32> = (0..=end).filter(|token| allowed.contains(*token)).collect();
    tokens.get(usize::from(draw) % tokens.len().max(1)).copied()
}

/// Whether `value` breaks what `schema` plainly says. What this does not know it lets pass, references and patterns
/// among it.
fn contradicts(schema: &Value, value: &Value) -> bool {
    let says = |key: &str| schema.get(key);
    let count = |key: &str| says(key).and_then(Value::as_u64);
    let number = |key: &str| says(key).and_then(Value::as_f64);
    let is_of = |name: &Value| match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.as_f64().is_some_and(|x| x.fract() == 0.0),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => true,
    };
    let type_is_wrong = match says("type") {
        Some(Value::Array(names)) => !names.iter().any(is_of),
        Some(name) => !is_of(name),
        None => false,
    };
    let is_another = says("const").is_some_and(|one| !equal(one, value))
        || says("enum")
            .and_then(Value::as_array)
            .is_some_and(|all| !all.iter().any(|one| equal(one, value)));
    let is_none_of = ["anyOf", "oneOf"].iter().any(|key| {
        let all = says(key).and_then(Value::as_array);
        all.is_some_and(|all| all.iter().all(|one| contradicts(one, value)))
    });
    let outside = |length: usize, least: &str, most: &str| {
        count(least).is_some_and(|least| (length as u64) < least)
            || count(most).is_some_and(|most| length as u64 > most)
    };
    let inside_is_wrong = match value {
        Value::Object(members) => {
            let required = says("required").and_then(Value::as_array).into_iter().flatten();
            let mut missing =
                required.filter_map(Value::as_str).filter(|key| !members.contains_key(*key));
            let of = |key: &str| {
                let own = says("properties").and_then(|all| all.get(key));
                own.or_else(|| says("additionalProperties"))
            };
            outside(members.len(), "minProperties", "maxProperties")
                || missing.next().is_some()
                || members
                    .iter()
                    .any(|(key, value)| of(key).is_some_and(|one| contradicts(one, value)))
        }
        Value::Array(items) => {
            let prefix = says("prefixItems").and_then(Value::as_array);
            let of = |i: usize| prefix.and_then(|all| all.get(i)).or_else(|| says("items"));
            outside(items.len(), "minItems", "maxItems")
                || items
                    .iter()
                    .enumerate()
                    .any(|(i, item)| of(i).is_some_and(|one| contradicts(one, item)))
        }
        Value::String(text) => outside(text.chars().count(), "minLength", "maxLength"),
        Value::Number(x) => {
            let x = x.as_f64().unwrap_or_default();
            number("minimum").is_some_and(|least| x < least)
                || number("maximum").is_some_and(|most| x > most)
                || number("exclusiveMinimum").is_some_and(|least| x <= least)
                || number("exclusiveMaximum").is_some_and(|most| x >= most)
        }
        Value::Null | Value::Bool(_) => false,
    };
    *schema == Value::Bool(false) || type_is_wrong || is_another || is_none_of || inside_is_wrong
}

/// Equal as JSON Schema has it: 1 is 1.0.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*, sample::Index};

    #[test]
    fn a_seed_is_taken_and_draws_an_answer() {
        let taken = |seed: Vec<u8>| {
            let at = seed.iter().position(|byte| *byte == DIVIDER).expect("a divider");
            let schema = serde_json::from_slice(&seed[..at]).expect("JSON");
            let grammars =
                Grammars::of_words(&words(), words().len() as u32 - 1).expect("a vocabulary");
            let grammar = grammars.schema(&schema).expect("a schema that is taken");
            draw(&mut grammar.matcher(), &words(), &[b'"'; 4]);
        };
        seeds().into_iter().for_each(taken);
    }

    #[test]
    fn what_breaks_a_schema_contradicts_it() {
        let schema = json!({
            "type": "object", "required": ["a"], "additionalProperties": false,
            "properties": { "a": { "anyOf": [{ "const": 1 }, { "type": "array", "maxItems": 1 }] } },
        });
        for right in [json!({ "a": 1.0 }), json!({ "a": [] })] {
            assert!(!contradicts(&schema, &right), "{right}");
        }
        for wrong in [
            json!([]),
            json!({}),
            json!({ "a": 2 }),
            json!({ "a": [1, 2] }),
            json!({ "a": 1, "b": 1 }),
        ] {
            assert!(contradicts(&schema, &wrong), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn broken_schemas_are_refused_and_the_others_are_kept(
            seed in any::<Index>(), edits in vec((any::<Index>(), any::<u8>(), 0..3u8), 0..6),
        ) {
            let mut bytes = seed.get(&seeds()).clone();
            for (at, byte, kind) in edits {
                let at = at.index(bytes.len());
                match kind {
                    0 => bytes[at] = byte,
                    1 => drop(bytes.drain(at..(at + usize::from(byte % 16)).min(bytes.len() - 1))),
                    _ => bytes.insert(at, byte),
                }
            }
            response_format(&bytes);
        }
    }
}
