//! Entrances for the fuzz targets (`fuzz/`): what reads files that anyone can publish.
//!
//! Compiled under `cfg(fuzzing)`, and in tests, which run each on mutations of a good file.

pub mod seeds;

use crate::serving::adapter_file::sign;
use crate::serving::{KvForm, PageId, SequenceStep, ServingAdapter, ServingDecoder, WeightForm};
use crate::tensor_file::TensorFile;
use crate::{
    Adapter, ChatTemplate, Decoder, DecoderConfig, Message, Named, Role, Tokenizer, Weights,
};
use openledger_tensor::PackedBytes;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Most elements of a tensor that a target reads.
const ELEMENTS_MAX: usize = 1 << 16;
/// Tokens of a vocabulary that a target encodes with.
const VOCABULARY_MAX: usize = 1 << 12;

/// A safetensors file: refused, or every tensor is read whole or refused by name.
pub fn safetensors(bytes: &[u8]) {
    let Ok(mut file) = TensorFile::from_bytes(bytes) else { return };
    let names: Vec<String> = file.header.names().map(str::to_owned).collect();
    for name in names {
        let shape = file.header.shape(&name).expect("it was listed").to_vec();
        let count = shape.iter().try_fold(1usize, |n, x| n.checked_mul(*x));
        let Some(count) = count.filter(|n| *n <= ELEMENTS_MAX) else { continue };
        let mut data = vec![f32::NAN; count];
        let mut to = Named { name: name.clone(), shape, data: &mut data[..] };
        if file.read(&name, &mut to).is_ok() {
            assert!(data.iter().all(|x| x.is_finite()), "a value that is not finite was read");
        }
    }
}

/// `adapter_config.json`, beside weights that fit the config of a good adapter.
pub fn adapter_config(json: &[u8]) {
    static BASE: OnceLock<(Decoder, Vec<u8>)> = OnceLock::new();
    let (base, weights) = BASE.get_or_init(|| {
        let config = seeds::config();
        let base = Decoder::new(config.clone(), Weights::random(&config, 1), false);
        (base, seeds::adapter().to_bytes("fuzz").expect("written").1)
    });
    if let Ok(adapter) = Adapter::from_bytes(json, weights, base) {
        assert!(adapter.rank() <= crate::RANK_MAX);
        let (json, weights) = adapter.to_bytes("fuzz").expect("what was read can be written");
        let again = Adapter::from_bytes(&json, &weights, base).expect("and read again");
        assert_eq!(again.hash(), adapter.hash());
    }
}

/// A packed adapter file, as it is and with a checksum that is right: refused by name, or one step of a small base with
/// it is refused by name or gives logits.
pub fn packed_adapter(file: &[u8]) {
    let open = |file: &[u8]| {
        (!file.is_empty()).then(|| {
            ServingAdapter::from_packed(PackedBytes::new(file.len(), |to| to.copy_from_slice(file)))
        })
    };
    drop(open(file));
    let mut signed = file.to_vec();
    sign(&mut signed);
    let Some(Ok(adapter)) = open(&signed) else { return };
    assert!(adapter.rank() <= crate::RANK_MAX);
    assert!(adapter.targets().len() <= crate::Site::ALL.len() + 1);
    static BASE: OnceLock<ServingDecoder> = OnceLock::new();
    let base = BASE.get_or_init(|| {
        let config = seeds::config();
        let weights = Weights::random(&config, 1);
        ServingDecoder::new(config, weights, WeightForm::F32, KvForm::F32)
    });
    let step = SequenceStep {
        tokens: &[1, 2, 3],
        before: 0,
        pages: &[PageId(0)],
        adapters: &[(Arc::new(adapter), 1.0)],
        logits_wanted: true,
    };
    if let Ok(logits) = base.step(&mut base.pages(1), &[step]) {
        assert!(logits[0].is_some(), "logits were wanted");
    }
}

/// `config.json` of a base.
pub fn model_config(json: &[u8]) {
    let Ok(config) = DecoderConfig::from_json(json) else { return };
    let architecture = config.architecture().expect("a config that was read has one");
    assert_eq!(architecture.layers.len(), config.num_hidden_layers);
    assert!(config.parameters() > 0);
}

/// `tokenizer.json`: refused, or it encodes a text and decodes what it encoded. The library's own panics on
/// malformed files are caught by the reader; the target replaces libFuzzer's hook, which would end at them.
pub fn tokenizer_json(json: &[u8]) {
    let Ok(tokenizer) = Tokenizer::from_json(json) else { return };
    if tokenizer.vocabulary_size() > VOCABULARY_MAX {
        return;
    }
    if let Ok(tokens) = tokenizer.encode("A text, typed: <|end|> naïve 東京\n") {
        let _ = tokenizer.decode(&tokens);
    }
}

/// A chat template: refused, or it renders or stops within its instructions.
pub fn chat_template(source: &[u8]) {
    let Ok(source) = std::str::from_utf8(source) else { return };
    let named = BTreeMap::from([("bos_token".to_owned(), "<s>".to_owned())]);
    let Ok(template) = ChatTemplate::new(source.to_owned(), named, "</s>".to_owned()) else {
        return;
    };
    let messages = [Message::new(Role::System, "be brief"), Message::user("hi")];
    let _ = template.render(&messages, true);
}

#[cfg(test)]
mod tests {
    use super::*;
    use openledger_tensor::Random;

    /// Mutations of each good file: short, and the same in every run.
    const ROUNDS: usize = if cfg!(debug_assertions) { 200 } else { 3_000 };

    /// Runs a target on a good file, on noise, and on mutations: bytes changed, cut out, doubled, numbers blown up.
    fn run(target: fn(&[u8]), good: &[u8]) {
        target(good);
        target(b"");
        let mut random = Random::new(99, good.len() as u64);
        for _ in 0..ROUNDS {
            let mut bytes = good.to_vec();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len().max(1)).min(bytes.len());
                match random.below(6) {
                    0 => bytes.truncate(at),
                    1 => {
                        let end = (at + 1 + random.below(16)).min(bytes.len());
                        bytes.drain(at..end);
                    }
                    2 => {
                        let end = (at + 1 + random.below(64)).min(bytes.len());
                        let piece = bytes[at..end].to_vec();
                        bytes.splice(at..at, piece);
                    }
                    3 => {
                        let digits: &[u8] =
                            [&b"-1"[..], b"0", b"99999999999999999999", b"1e308", b"null"]
                                [random.below(5)];
                        if let Some(digit) = bytes[at..].iter().position(u8::is_ascii_digit) {
                            bytes.splice(at + digit..at + digit + 1, digits.iter().copied());
                        }
                    }
                    _ => {
                        if let Some(byte) = bytes.get_mut(at) {
                            *byte = random.next() as u8;
                        }
                    }
                }
            }
            target(&bytes);
        }
    }

    fn run_all(target: fn(&[u8]), seeds: Vec<Vec<u8>>) {
        assert!(!seeds.is_empty());
        seeds.iter().for_each(|seed| run(target, seed));
    }

    #[test]
    fn broken_weight_files_are_refused() {
        run_all(safetensors, seeds::safetensors());
    }

    #[test]
    fn broken_adapter_configs_are_refused() {
        run_all(adapter_config, seeds::adapter_config());
    }

    #[test]
    fn broken_packed_adapters_are_refused() {
        run_all(packed_adapter, seeds::packed_adapter());
    }

    #[test]
    fn broken_model_configs_are_refused() {
        run_all(model_config, seeds::model_config());
    }

    #[test]
    fn broken_tokenizers_are_refused() {
        run_all(tokenizer_json, seeds::tokenizer_json());
    }

    #[test]
    fn broken_chat_templates_are_refused() {
        run_all(chat_template, seeds::chat_template());
    }

    #[test]
    fn a_seed_is_read_by_its_target() {
        let base = Decoder::new(seeds::config(), Weights::random(&seeds::config(), 1), false);
        let weights = seeds::adapter().to_bytes("fuzz").expect("written").1;
        assert!(seeds::safetensors().iter().all(|file| TensorFile::from_bytes(&file[..]).is_ok()));
        let read = |json: &Vec<u8>| Adapter::from_bytes(json, &weights, &base).map(drop);
        seeds::adapter_config().iter().for_each(|json| read(json).expect("an adapter"));
        let read = |json: &Vec<u8>| DecoderConfig::from_json(json).map(drop);
        seeds::model_config().iter().for_each(|json| read(json).expect("a config"));
        let read = |json: &Vec<u8>| Tokenizer::from_json(json).map(drop);
        seeds::tokenizer_json().iter().for_each(|json| read(json).expect("a tokenizer"));
    }
}
