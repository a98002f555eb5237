use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiError;
use super::completion::Prompts;
use super::options::{parse_object, read};

/// Body of `POST /v1/embeddings`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct EmbeddingsRequest {
    /// Registered name, alias or adapter hash.
    pub(crate) model: String,
    /// One text, several, or the same as token ids.
    pub(crate) input: Prompts,
    /// Numbers, or base64 of little-endian f32. The official Python client asks for the latter.
    #[serde(default)]
    pub(crate) encoding_format: Option<EncodingFormat>,
    /// Only the model's own size is served.
    #[serde(default)]
    pub(crate) dimensions: Option<usize>,
}

/// How a vector is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EncodingFormat {
    /// JSON numbers.
    Float,
    /// base64 of little-endian f32.
    Base64,
}

const KNOWN: &[&str] = &["model", "input", "encoding_format", "dimensions", "user"];

impl EmbeddingsRequest {
    /// Parses a body, naming the parameter that is wrong, and lists the parameters that were ignored.
    pub(crate) fn parse(body: &[u8]) -> Result<(Self, Vec<String>), ApiError> {
        let (value, ignored) = parse_object(body, &[KNOWN])?;
        let request: Self = read(&value)?;
        request.input.check("input")?;
        Ok((request, ignored))
    }

    /// The document of some vectors, `tokens` read in all.
    pub(crate) fn document(&self, model: &str, vectors: &[Vec<f32>], tokens: u64) -> Value {
        let data: Vec<Value> = vectors
            .iter()
            .enumerate()
            .map(|(index, vector)| {
                json!({ "object": "embedding", "index": index, "embedding": self.written(vector) })
            })
            .collect();
        json!({
            "object": "list", "data": data, "model": model,
            "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
        })
    }

    fn written(&self, vector: &[f32]) -> Value {
        match self.encoding_format {
            Some(EncodingFormat::Base64) => {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                json!(STANDARD.encode(bytes))
            }
            Some(EncodingFormat::Float) | None => json!(vector),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_written_in_both_forms() {
        let request = |format: &str| {
            let body = format!(r#"{{"model":"m","input":["a"],"encoding_format":"{format}"}}"#);
            EmbeddingsRequest::parse(body.as_bytes()).unwrap().0
        };
        let vectors = [vec![1.0f32, -0.5]];
        let float = request("float").document("m", &vectors, 3);
        assert_eq!(float["data"][0]["embedding"], json!([1.0, -0.5]));
        assert_eq!(float["usage"]["prompt_tokens"], 3);
        let base64 = request("base64").document("m", &vectors, 3);
        assert_eq!(base64["data"][0]["embedding"], "AACAPwAAAL8=");
    }
}
