//! Logits of a prompt as JSON, for comparison with other implementations (`tests/peft_parity.py`).
//!
//! ```text
//! cargo run --release -p openledger-model --example logits -- --base models/nano [--adapter DIR] --prompt TEXT
//! cargo run --release -p openledger-model --example logits -- --base DIR [--adapter DIR] --tokens 1,2,3
//! ```
//!
//! Prints `{"tokens": [...], "logits": [[...] per token]}`. Tokens are fed one at a time, as while generating.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::{Path, PathBuf};

use openledger_model::{Adapter, ChatTemplate, Decoder, KvCache, Message, Slice, Tokenizer};

fn main() -> Result<(), Box<dyn Error>> {
    let (mut base, mut adapter) = (PathBuf::from("models/nano"), None);
    let (mut prompt, mut given) = (String::new(), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--base" => base = value.into(),
            "--adapter" => adapter = Some(value),
            "--prompt" => prompt = value,
            "--tokens" => {
                given = Some(value.split(',').map(str::parse).collect::<Result<Vec<u32>, _>>()?);
            }
            _ => return Err(format!("unknown option {name}").into()),
        }
    }
    let decoder = Decoder::load(&base)?;
    let adapter = adapter.map(|dir| Adapter::load(Path::new(&dir), &decoder)).transpose()?;

    let tokens = match given {
        Some(tokens) => tokens,
        None => {
            let tokenizer = Tokenizer::from_file(&base.join("tokenizer.json"))?;
            ChatTemplate::from_dir(&base)?.prompt(&tokenizer, &[Message::user(prompt)])?
        }
    };
    let mut cache = KvCache::new(decoder.config(), tokens.len());
    let mut logits = Vec::new();
    for token in &tokens {
        let slice = Slice {
            tokens: std::slice::from_ref(token),
            cache: &mut cache,
            adapter: adapter.as_ref(),
        };
        logits.extend(decoder.step(&mut [slice])?);
    }
    println!("{}", serde_json::json!({ "tokens": tokens, "logits": logits }));
    Ok(())
}
