//! Which JSON Schemas are compiled at all.
//!
//! What a schema costs is not bounded by its length: where two patterns hold for the same text, their
//! intersection can take hours to compute. So only keywords are taken that are known here, and none of them
//! intersects with another of its kind: what OpenAI takes, and some more. The rest is refused by name.
//!
//! **Invariant:** at no place of a document do two schemas with patterns or references hold at once.

use serde_json::{Map, Value};

/// Longest schema, in bytes of JSON.
pub const SCHEMA_BYTES_MAX: usize = 64 << 10;
/// Most properties in all objects of a schema.
const PROPERTIES_MAX: usize = 512;
/// Most values of all enumerations, and most alternatives, of a schema.
const ALTERNATIVES_MAX: usize = 1_000;
/// Most patterns, formats and multiples in a schema.
const PATTERNS_MAX: usize = 64;
/// Longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1_024;

/// What says nothing of the document.
const ANNOTATIONS: &[&str] = &[
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
];
/// What says one thing of one value.
const PLAIN: &[&str] = &[
    "type",
    "required",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minProperties",
    "maxProperties",
];
/// What is another schema's word for the same value; nothing that narrows may stand beside it.
const APPLICATORS: &[&str] = &["$ref", "anyOf", "oneOf", "allOf"];

/// Refuses what is too long or not known to be cheap. Errors: what, and why.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    let bytes = schema.to_string().len();
    if bytes > SCHEMA_BYTES_MAX {
        return Err(format!("the schema has {bytes} bytes, at most {SCHEMA_BYTES_MAX} are taken"));
    }
    if !schema.is_object() {
        return Err("the schema must be a JSON object".to_owned());
    }
    Spent::default().schema(schema)
}

/// What was found so far.
#[derive(Default)]
struct Spent {
    properties: usize,
    alternatives: usize,
    patterns: usize,
}

impl Spent {
    fn schema(&mut self, schema: &Value) -> Result<(), String> {
        match schema {
            Value::Bool(_) => Ok(()),
            Value::Object(keywords) => self.keywords(keywords),
            other => Err(format!("{} stands where a schema is expected", beginning(other))),
        }
    }

    fn keywords(&mut self, keywords: &Map<String, Value>) -> Result<(), String> {
        let is = |names: &[&str], key: &String| names.contains(&key.as_str());
        let definitions = |key: &String| is(&["$defs", "definitions"], key);
        if let Some(applicator) = keywords.keys().find(|key| is(APPLICATORS, key)) {
            let beside = |key: &&String| {
                *key != applicator && !is(ANNOTATIONS, key) && !definitions(key) && *key != "type"
            };
            if let Some(other) = keywords.keys().find(beside) {
                return Err(format!("`{other}` beside `{applicator}` cannot be enforced"));
            }
        }
        keywords.iter().try_for_each(|(key, value)| self.keyword(key, value))
    }

    fn keyword(&mut self, key: &str, value: &Value) -> Result<(), String> {
        match key {
            "properties" | "$defs" | "definitions" => {
                let members = value.as_object().ok_or(format!("`{key}` must be an object"))?;
                spend(&mut self.properties, members.len(), PROPERTIES_MAX, "properties")?;
                members.values().try_for_each(|schema| self.schema(schema))
            }
            "items" | "additionalProperties" => self.schema(value),
            "anyOf" | "oneOf" | "prefixItems" => {
                let all = value.as_array().ok_or(format!("`{key}` must be a list"))?;
                spend(&mut self.alternatives, all.len(), ALTERNATIVES_MAX, "alternatives")?;
                all.iter().try_for_each(|schema| self.schema(schema))
            }
            // One is what some generators write around a reference; more would be intersections.
            "allOf" => match value.as_array().map(Vec::as_slice) {
                Some([one]) => self.schema(one),
                _ => Err("`allOf` is taken with one schema in it only".to_owned()),
            },
            "enum" => {
                let values = value.as_array().map_or(0, Vec::len);
                spend(&mut self.alternatives, values, ALTERNATIVES_MAX, "enumerated values")
            }
            "pattern" | "format" | "multipleOf" => {
                if value.as_str().is_some_and(|text| text.len() > PATTERN_BYTES_MAX) {
                    return Err(format!("a `{key}` has at most {PATTERN_BYTES_MAX} bytes"));
                }
                spend(&mut self.patterns, 1, PATTERNS_MAX, "patterns, formats and multiples")
            }
            "$ref" | "const" => Ok(()),
            _ if ANNOTATIONS.contains(&key) || PLAIN.contains(&key) => Ok(()),
            _ => Err(format!("`{}` cannot be enforced", beginning(&Value::from(key)))),
        }
    }
}

fn spend(spent: &mut usize, more: usize, most: usize, what: &str) -> Result<(), String> {
    *spent += more;
    if *spent > most { Err(format!("the schema has more than {most} {what}")) } else { Ok(()) }
}

/// Enough of a client's text to find it again.
fn beginning(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().take(40).collect()
}
