use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::{Sampler, Sampling};

/// Whether a value is of a schema, for the keywords that these tests use. Plain and slow.
fn conforms(schema: &Value, value: &Value) -> bool {
    let one_of = |key: &str, ok: &dyn Fn(&Value) -> bool| schema.get(key).is_none_or(ok);
    let number = |key: &str| schema.get(key).and_then(Value::as_f64);
    let length = |key: &str| schema.get(key).and_then(Value::as_u64);
    let of_type = |name: &Value| match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => panic!("the test knows no type {name}"),
    };
    let own = one_of("type", &of_type)
        && one_of("enum", &|all| all.as_array().is_some_and(|all| all.contains(value)))
        && one_of("anyOf", &|all| {
            all.as_array().is_some_and(|all| all.iter().any(|one| conforms(one, value)))
        });
    let inside = match value {
        Value::Object(members) => {
            let properties = &schema["properties"];
            let required = schema["required"].as_array().into_iter().flatten();
            let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
            required.filter_map(Value::as_str).all(|name| members.contains_key(name))
                && members.iter().all(|(name, value)| match properties.get(name) {
                    Some(property) => conforms(property, value),
                    None => !closed,
                })
        }
        Value::Array(items) => {
            length("minItems").is_none_or(|least| items.len() as u64 >= least)
                && length("maxItems").is_none_or(|most| items.len() as u64 <= most)
                && items.iter().all(|item| one_of("items", &|schema| conforms(schema, item)))
        }
        Value::Number(value) => {
            let value = value.as_f64().expect("finite");
            number("minimum").is_none_or(|least| value >= least)
                && number("maximum").is_none_or(|most| value <= most)
        }
        Value::String(text) => {
            length("maxLength").is_none_or(|most| text.chars().count() as u64 <= most)
        }
        _ => true,
    };
    own && inside
}

/// All bytes, some longer tokens that cross what the grammar sees as parts, and the end.
fn words() -> Vec<Vec<u8>> {
    let bytes = (0..=255).map(|byte| vec![byte]);
    let longer =
        ["{\"", "\":", "\"}", "}}", "],[", "\": \"", "true", "null,", "12", "\\u0", "é", " \n "];
    let longer = longer.iter().map(|text| text.as_bytes().to_vec());
    let control = [b"\xFF<|end|>".to_vec(), b"\xFF{}".to_vec(), Vec::new()];
    bytes.chain(longer).chain(control).collect()
}

const END: u32 = 256 + 12;

fn grammars() -> Grammars {
    Grammars::of_words(&words(), END).expect("a vocabulary")
}

/// Logits of the kinds that go wrong: no numbers, infinities, ties, and what is forbidden most likely.
fn logits(random: &mut impl FnMut() -> u64, tokens: usize) -> Vec<f32> {
    let kind = random() % 4;
    let logit = |r: u64| match (kind, r % 64) {
        (0, 0) => f32::NAN,
        (0, 1) => f32::INFINITY,
        (0, 2) => f32::NEG_INFINITY,
        (1, _) => 0.0,
        _ => (r >> 40) as f32 / 1e6 - 8.0,
    };
    (0..tokens).map(|_| logit(random())).collect()
}

/// An answer of at most `tokens_max` tokens, and whether the grammar ended it.
fn answer(
    grammar: &Grammar,
    seed: u64,
    temperature: f32,
    end: u32,
    tokens_max: usize,
) -> (Vec<u32>, bool) {
    let mut state = seed | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    };
    let (mut matcher, mut tokens) = (grammar.matcher(), Vec::new());
    let mut sampler =
        Sampler::new(Sampling { temperature, seed, min_p: 0.0, ..Sampling::GREEDY }, &[]);
    for i in 0..tokens_max {
        let allowed = matcher.allowed().expect("within the budget");
        let mut logits = logits(&mut random, grammar.vocabulary());
        // Half way on the model wants to come to an end.
        if i > tokens_max / 2 {
            for token in (0u32..).zip(&mut logits).filter(|(t, _)| *t == end) {
                *token.1 = 100.0;
            }
            for closing in [b'"', b'}', b']', b'1'] {
                logits[closing as usize] = 50.0 + f32::from(closing % 3);
            }
        }
        let token = sampler.next(&logits, Some(&allowed));
        assert!(allowed.contains(token), "token {token} was forbidden");
        tokens.push(token);
        if matcher.push(token).expect("it was allowed") || token == end {
            return (tokens, true);
        }
    }
    (tokens, false)
}

fn text(words: &[Vec<u8>], tokens: &[u32]) -> Vec<u8> {
    tokens.iter().filter(|t| **t != END).flat_map(|t| words[*t as usize].clone()).collect()
}

fn person() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "maxLength": 12 },
            "age": { "type": "integer", "minimum": 0, "maximum": 130 },
            "tags": {
                "type": "array", "minItems": 1, "maxItems": 3,
                "items": { "type": "string", "enum": ["a", "bb", "é\""] },
            },
            "parent": { "anyOf": [{ "type": "null" }, { "$ref": "#/$defs/parent" }] },
        },
        "required": ["name", "age", "tags", "parent"],
        "additionalProperties": false,
        "$defs": { "parent": {
            "type": "object", "properties": { "name": { "type": "string", "maxLength": 5 } },
            "required": ["name"], "additionalProperties": false,
        } },
    })
}

/// The same with the reference resolved, for the plain check.
fn person_resolved() -> Value {
    let mut schema = person();
    schema["properties"]["parent"]["anyOf"][1] = schema["$defs"]["parent"].clone();
    schema
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_logits_are_what_ends_is_a_json_object(
        seed: u64, temperature in prop_oneof![Just(0.0f32), 0.1f32..2.0], tokens_max in 1usize..200,
    ) {
        let words = words();
        let grammar = grammars().object();
        let (tokens, ended) = answer(&grammar, seed, temperature, END, tokens_max);
        let text = text(&words, &tokens);
        // Also what was cut off is a beginning of one, in whole characters but for the last.
        let valid = String::from_utf8_lossy(&text);
        prop_assert!(text.is_empty() || text[0] == b'{', "{valid}");
        if ended {
            // Not as a value: a number may be larger than f64 has room for, and JSON all the same.
            let read: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(&text);
            prop_assert!(read.is_ok(), "{read:?} {valid}");
        }
    }

    #[test]
    fn whatever_the_logits_are_what_ends_is_of_the_schema(
        seed: u64, temperature in prop_oneof![Just(0.0f32), 0.1f32..2.0],
    ) {
        let words = words();
        let grammar = grammars().schema(&person()).expect("a schema");
        let (tokens, ended) = answer(&grammar, seed, temperature, END, 400);
        let text = text(&words, &tokens);
        prop_assert!(ended, "a bounded schema comes to an end: {}", String::from_utf8_lossy(&text));
        let value: Value = serde_json::from_slice(&text).expect("JSON");
        prop_assert!(conforms(&person_resolved(), &value), "{value}");
    }
}

#[test]
fn the_plain_check_of_schemas_tells_right_from_wrong() {
    let right = json!({ "name": "a", "age": 3, "tags": ["bb"], "parent": null });
    assert!(conforms(&person_resolved(), &right));
    for (key, wrong) in [
        ("name", json!("a name that is too long")),
        ("age", json!(131)),
        ("age", json!(1.5)),
        ("tags", json!([])),
        ("tags", json!(["c"])),
        ("parent", json!({})),
        ("other", json!(1)),
    ] {
        let mut value = right.clone();
        value[key] = wrong;
        assert!(!conforms(&person_resolved(), &value), "{value}");
    }
}

#[test]
fn with_a_real_vocabulary_what_ends_is_of_the_schema() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/nano/tokenizer.json");
    let tokenizer = Tokenizer::from_file(Path::new(path)).expect("committed");
    let end = tokenizer.token_id("<|end|>").expect("nano's end of a turn");
    let grammars = Grammars::new(&tokenizer, end).expect("a vocabulary");
    let (object, schema) = (grammars.object(), grammars.schema(&person()).expect("a schema"));
    let mut ended = 0;
    for seed in 0..60 {
        for grammar in [&object, &schema] {
            let (mut tokens, whole) = answer(grammar, seed * 7919, 1.0, end, 120);
            tokens.retain(|token| *token != end);
            if whole {
                ended += 1;
                let text = tokenizer.decode(&tokens).expect("tokens of it");
                if std::ptr::eq(grammar, &schema) {
                    let value = serde_json::from_str(&text).expect("JSON");
                    assert!(conforms(&person_resolved(), &value), "{text}");
                } else {
                    let read: Result<serde::de::IgnoredAny, _> = serde_json::from_str(&text);
                    assert!(read.is_ok() && text.starts_with('{'), "{text}");
                }
            }
        }
    }
    assert!(ended >= 30, "{ended} of 120 came to an end");
}

#[test]
fn only_a_whole_document_may_end_and_nothing_follows_it() {
    let mut matcher = grammars().object().matcher();
    for byte in *b"{\"a\":[1" {
        let allowed = matcher.allowed().expect("within the budget");
        assert!(allowed.contains(u32::from(byte)) && !allowed.contains(END));
        assert!(!allowed.contains(END + 1), "a control token is no text");
        assert!(!matcher.push(u32::from(byte)).expect("allowed"));
    }
    assert!(!matcher.push(u32::from(b']')).expect("allowed"));
    assert!(matcher.push(u32::from(b'}')).expect("allowed"), "nothing can follow");
}

#[test]
fn blanks_come_to_an_end() {
    let mut matcher = grammars().object().matcher();
    assert!(!matcher.push(u32::from(b'{')).expect("allowed"));
    for _ in 0..WHITE_SPACE_MAX {
        assert!(matcher.allowed().expect("within the budget").contains(u32::from(b' ')));
        assert!(!matcher.push(u32::from(b' ')).expect("allowed"));
    }
    assert!(!matcher.allowed().expect("within the budget").contains(u32::from(b' ')));
}

#[test]
fn keys_come_in_the_order_of_the_schema() {
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["z", "a"],
        "properties": { "z": { "enum": [1] }, "a": { "enum": [2] } },
    });
    let grammar = grammars().schema(&schema).expect("a schema");
    let (tokens, ended) = answer(&grammar, 1, 0.0, END, 100);
    let text = String::from_utf8(text(&words(), &tokens)).expect("text");
    assert!(ended && text.find("\"z\"") < text.find("\"a\""), "{text}");
}

#[test]
fn schemas_that_cannot_be_enforced_are_refused_with_the_reason() {
    let grammars = grammars();
    let refused = |schema: Value| {
        let error = grammars.schema(&schema).expect_err("it cannot be enforced");
        let Error::Invalid { field: "response_format", why } = error else { panic!("{error}") };
        why
    };
    assert!(refused(json!([])).contains("must be a JSON object"));
    assert!(refused(json!({ "properties": { "a": 3 } })).contains("3 stands where a schema"));
    assert!(refused(json!({ "type": "thing" })).contains("cannot be enforced"));
    assert!(refused(json!({ "$ref": "#/$defs/none" })).contains("cannot be enforced"));
    assert!(refused(json!({ "$ref": "https://example.org/x" })).contains("cannot be enforced"));
    assert!(refused(json!({ "type": "string", "pattern": "(" })).contains("cannot be enforced"));
    assert!(refused(json!({ "not": { "type": "string" } })).contains("cannot be enforced"));
    let overlapping = json!({ "oneOf": [{ "type": "string" }, { "maxLength": 3 }] });
    assert!(refused(overlapping).ends_with("do not exclude each other; write anyOf"));
    assert!(refused(json!({ "x-guidance": {} })).contains("x-guidance"));
    assert!(refused(json!({ "description": "a".repeat(SCHEMA_BYTES_MAX) })).contains("bytes"));
    assert!(refused(json!({ "allOf": [{}, {}] })).contains("allOf"));
    assert!(refused(json!({ "anyOf": [{}], "pattern": "a" })).contains("`pattern` beside `anyOf`"));
}

#[test]
fn schemas_that_would_cost_too_much_are_refused_soon() {
    let grammars = grammars();
    let wide = |n: usize| -> Value {
        let all = (0..n).map(|i| (format!("p{i}"), json!({ "type": "string" })));
        json!({ "type": "object", "properties": all.collect::<serde_json::Map<_, _>>() })
    };
    let pattern = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    let patterns: Vec<Value> = (0..40).map(|i| pattern(&format!("a.{{{i}}}b"))).collect();
    let chain: serde_json::Map<String, Value> = (0..60)
        .map(|i| {
            (
                format!("d{i}"),
                json!({ "pattern": format!("a.{{{i}}}b"), "$ref": format!("#/$defs/d{}", i + 1) }),
            )
        })
        .collect();
    for schema in [
        json!({ "allOf": patterns }),
        json!({ "anyOf": [{ "allOf": patterns }] }),
        json!({ "$ref": "#/$defs/d0", "$defs": chain }),
        json!({ "patternProperties": { "^(a|aa)*c": {}, "(.x.)*": {} } }),
        json!({ "not": patterns[0] }),
        wide(PROPERTIES_TOO_MANY),
        pattern(&"a".repeat(2_000)),
    ] {
        assert!(grammars.schema(&schema).is_err());
    }
    let costly = [
        json!({ "type": "string", "maxLength": 1_000_000_000 }),
        pattern("^(a{1,1000}){1,1000}$"),
        pattern("^(.*a.{30}){20}$"),
        pattern("(x+x+)+y.*(a|b|ab)*c{500}"),
        json!({ "type": "array", "minItems": 1_000_000, "items": { "type": "integer" } }),
        json!({ "type": "object", "minProperties": 100_000 }),
        wide(500),
        json!({ "anyOf": (0..900).map(|i| json!({ "const": i })).collect::<Vec<_>>() }),
        json!({ "oneOf": patterns }),
        json!({ "anyOf": patterns }),
        json!({ "type": "integer", "multipleOf": 999_983, "minimum": 7, "maximum": 900_000_000_000u64 }),
        (0..110).fold(json!({}), |inside, _| json!({ "type": "array", "items": inside })),
    ];
    for schema in costly {
        let begun = Instant::now();
        let compiled = grammars.schema(&schema);
        // Whatever is taken must also be cheap to go on with.
        if let Ok(grammar) = &compiled {
            let mut matcher = grammar.matcher();
            for _ in 0..20 {
                let Ok(allowed) = matcher.allowed() else { break };
                let token = (0..END).find(|token| allowed.contains(*token)).unwrap_or(END);
                if matcher.push(token).unwrap_or(true) {
                    break;
                }
            }
        }
        let (took, shown) = (begun.elapsed(), schema.to_string());
        let shown: String = shown.chars().take(60).collect();
        // Measured: a tenth of a second for the widest, milliseconds for the rest.
        assert!(took < Duration::from_secs(10), "{took:?} for {shown}");
    }
}

const PROPERTIES_TOO_MANY: usize = 513;
