use crate::random;

/// A new API key: `sk-ol-` and 256 random bits.
pub fn new_api_key() -> String {
    format!("sk-ol-{}", random::hash().to_string().trim_start_matches("0x"))
}
