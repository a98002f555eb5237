//! From one JSON value to one row.

use std::collections::BTreeMap;

use crate::json::Json;
use crate::{Canonical, Contributor, Limits, Role, RowError};

/// Which fields of a row hold what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldMapping {
    /// Field of the prompt. Default `prompt`.
    pub prompt: String,
    /// Field of the completion. Default `completion`.
    pub completion: String,
    /// Field of the messages. Default `messages`.
    pub messages: String,
    /// Field of the contributor. Default `contributor`.
    pub contributor: String,
}

impl Default for FieldMapping {
    fn default() -> Self {
        Self {
            prompt: "prompt".into(),
            completion: "completion".into(),
            messages: "messages".into(),
            contributor: "contributor".into(),
        }
    }
}

/// A good row of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Line in the file, from 1.
    pub line: u64,
    /// Whose it is.
    pub contributor: Contributor,
    /// What it says.
    pub canonical: Canonical,
}

type Object = BTreeMap<String, Json>;

/// Reads the parsed line as a contributor and a canonical record. `null` counts as absent, since many
/// exports write it for a column that a row does not have.
pub(crate) fn read(
    json: &Json,
    mapping: &FieldMapping,
    default_contributor: Option<&Contributor>,
    limits: &Limits,
) -> Result<(Contributor, Canonical), RowError> {
    let Json::Object(row) = json else {
        return Err(RowError::DataType { found: json.kind() });
    };
    let messages = present(row, &mapping.messages);
    let prompt = present(row, &mapping.prompt);
    let completion = present(row, &mapping.completion);
    let canonical = match (messages, prompt, completion) {
        (Some(_), None, None) | (None, None, None) => conversation(messages, mapping, limits)?,
        (Some(_), _, _) => return Err(RowError::BothFormats),
        (None, None, Some(_)) => return Err(RowError::MissingPrompt),
        (None, Some(_), None) => {
            return Err(RowError::MissingCompletion { field: mapping.completion.clone() });
        }
        (None, Some(prompt), Some(completion)) => Canonical::prompt_completion(
            text(prompt, &mapping.prompt, limits)?,
            text(completion, &mapping.completion, limits)?,
        )?,
    };
    check_canonical_lengths(&canonical, limits)?;
    let contributor = match present(row, &mapping.contributor) {
        Some(value) => text(value, &mapping.contributor, limits)?.parse()?,
        None => default_contributor
            .cloned()
            .ok_or_else(|| RowError::MissingContributor { field: mapping.contributor.clone() })?,
    };
    Ok((contributor, canonical))
}

fn present<'a>(row: &'a Object, field: &str) -> Option<&'a Json> {
    row.get(field).filter(|value| **value != Json::Null)
}

fn text<'a>(value: &'a Json, field: &str, limits: &Limits) -> Result<&'a str, RowError> {
    match value {
        Json::String(text) if text.len() <= limits.field_bytes => Ok(text),
        Json::String(_) => {
            Err(RowError::FieldTooLong { field: field.to_owned(), limit: limits.field_bytes })
        }
        other => Err(RowError::FieldType { field: field.to_owned(), found: other.kind() }),
    }
}

fn conversation(
    messages: Option<&Json>,
    mapping: &FieldMapping,
    limits: &Limits,
) -> Result<Canonical, RowError> {
    let list = match messages {
        Some(Json::Array(list)) if !list.is_empty() => list,
        _ => {
            return Err(RowError::MissingMessagesList {
                messages: mapping.messages.clone(),
                prompt: mapping.prompt.clone(),
                completion: mapping.completion.clone(),
            });
        }
    };
    if list.len() > limits.messages {
        return Err(RowError::TooManyMessages { limit: limits.messages });
    }
    let messages = list
        .iter()
        .zip(1..)
        .map(|(value, number)| message(value, number, limits))
        .collect::<Result<Vec<_>, _>>()?;
    Canonical::conversation(&messages)
}

/// One message. Keys beyond `role` and `content` (tool calls, names, weights) would be lost in the
/// record, so they are refused by name.
fn message<'a>(
    value: &'a Json,
    number: usize,
    limits: &Limits,
) -> Result<(Role, &'a str), RowError> {
    let missing = |key| RowError::MessageMissingKey { message: number, key };
    let Json::Object(fields) = value else { return Err(missing("role")) };
    let role = present(fields, "role").ok_or_else(|| missing("role"))?;
    let content = fields.get("content").ok_or_else(|| missing("content"))?;
    if let Some((key, _)) = fields
        .iter()
        .find(|(key, value)| !matches!(key.as_str(), "role" | "content") && **value != Json::Null)
    {
        let key = key.chars().take(40).collect();
        return Err(RowError::MessageUnrecognizedKey { message: number, key });
    }
    let unrecognized = |role: &str| RowError::UnrecognizedRole {
        message: number,
        role: role.chars().take(40).collect(),
    };
    let role = match role {
        Json::String(name) => Role::parse(name).ok_or_else(|| unrecognized(name))?,
        other => return Err(unrecognized(other.kind())),
    };
    let place = || format!("message {number}");
    match content {
        Json::String(text) if text.len() <= limits.field_bytes => Ok((role, text)),
        Json::String(_) => {
            Err(RowError::FieldTooLong { field: place(), limit: limits.field_bytes })
        }
        _ => Err(RowError::MissingContent { place: place() }),
    }
}

/// NFC may lengthen a text up to three times, so the limit holds for the canonical form as well.
fn check_canonical_lengths(canonical: &Canonical, limits: &Limits) -> Result<(), RowError> {
    match canonical.messages().iter().zip(1..).find(|(m, _)| m.text().len() > limits.field_bytes) {
        None => Ok(()),
        Some((_, number)) => Err(RowError::FieldTooLong {
            field: format!("message {number} in canonical form"),
            limit: limits.field_bytes,
        }),
    }
}
