//! The base model that ships with the project.

use openledger_model::{ChatTemplate, Decoder, Error, KvCache, Message, Slice, Tokenizer};
use std::path::Path;

/// Longest answer that is waited for.
const ANSWER_TOKENS_MAX: usize = 64;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/nano"))
}

#[test]
fn its_files_belong_together() -> Result<(), Error> {
    let decoder = Decoder::load(folder())?;
    let tokenizer = Tokenizer::from_file(&folder().join("tokenizer.json"))?;
    let template = ChatTemplate::from_dir(folder())?;
    assert_eq!(tokenizer.vocabulary_size(), decoder.config().vocab_size);
    let end = template.end_of_turn(&tokenizer)?;
    assert_eq!(decoder.config().eos_token_id, Some(end.into()));
    Ok(())
}

#[test]
fn it_answers_in_the_form_it_was_taught_and_stops() -> Result<(), Error> {
    let decoder = Decoder::load(folder())?;
    let tokenizer = Tokenizer::from_file(&folder().join("tokenizer.json"))?;
    let template = ChatTemplate::from_dir(folder())?;
    let end = template.end_of_turn(&tokenizer)?;
    let mut next = template.prompt(&tokenizer, &[Message::user("Display help (tar)")])?;
    let mut cache = KvCache::new(decoder.config(), next.len() + ANSWER_TOKENS_MAX);
    let mut answer = Vec::new();
    while answer.len() < ANSWER_TOKENS_MAX {
        let slice = Slice { tokens: &next, cache: &mut cache, adapter: None };
        let logits = decoder.step(&mut [slice])?.remove(0);
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        let token = best.expect("the vocabulary is not empty") as u32;
        if token == end {
            assert_eq!(tokenizer.decode(&answer)?, "tar {{[-h|--help]}}");
            return Ok(());
        }
        answer.push(token);
        next = vec![token];
    }
    panic!("no end after {:?}", tokenizer.decode(&answer)?)
}
