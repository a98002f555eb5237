//! Hugging Face and PEFT folders.

use crate::tiny;
use openledger_model::{Adapter, Decoder, DecoderConfig, Error, Site, Weights, from_bf16, to_bf16};
use serde_json::Value;
use std::path::Path;

#[test]
fn a_saved_base_comes_back_rounded_to_bf16_and_with_a_stable_hash() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut weights = tiny::weights(1);
    weights.save(&tiny::config(), dir.path()).expect("saved");
    let first = Decoder::load(dir.path()).expect("loads");
    let (config, mut read) = Weights::load(dir.path()).expect("loads");
    assert_eq!(config, tiny::config());
    for (read, written) in read.parameters_mut().into_iter().zip(weights.parameters_mut()) {
        let rounded: Vec<f32> = written.data.iter().map(|x| from_bf16(to_bf16(*x))).collect();
        assert_eq!(read.data, rounded);
    }
    read.save(&config, dir.path()).expect("saved");
    assert_eq!(Decoder::load(dir.path()).expect("loads").hash(), first.hash());
    assert_ne!(first.hash(), tiny::decoder(1).hash());
}

#[test]
fn an_adapter_comes_back_with_its_hash() {
    let base = tiny::decoder(1);
    for sites in [&Site::ALL[..], &[Site::Up, Site::Value]] {
        let dir = tempfile::tempdir().expect("a folder");
        let adapter = tiny::adapter(4, sites, 3);
        adapter.save(dir.path(), "tiny").expect("saved");
        let read = Adapter::load(dir.path(), &base).expect("loads");
        assert_eq!(read.hash(), adapter.hash());
        assert_eq!(read.rank(), 4);
        assert_eq!(read.alpha(), 8.0);
        assert_eq!(read.sites().len(), sites.len());
        let text = tiny::tokens(9, 1);
        assert_eq!(
            base.all_logits(&text, Some(&read)).expect("fits"),
            base.all_logits(&text, Some(&adapter)).expect("fits")
        );
    }
    assert_ne!(tiny::adapter(4, &Site::ALL, 3).hash(), tiny::adapter(4, &Site::ALL, 4).hash());
}

/// Saves an adapter, edits its config, and reads it again.
fn edited(edit: impl Fn(&mut Value)) -> Result<Adapter, Error> {
    let adapter = tiny::adapter(4, &Site::ALL, 3);
    let (config, weights) = adapter.to_bytes("tiny").expect("written");
    let mut config: Value = serde_json::from_slice(&config).expect("JSON");
    edit(&mut config);
    Adapter::from_bytes(config.to_string().as_bytes(), &weights, &tiny::decoder(1))
}

#[test]
fn what_would_be_loaded_wrongly_is_refused_by_name() {
    assert!(edited(|_| ()).is_ok());
    let cases: [(&str, Value, &str); 11] = [
        ("use_dora", true.into(), "DoRA"),
        ("bias", "all".into(), "bias"),
        ("modules_to_save", serde_json::json!(["lm_head"]), "modules_to_save"),
        ("use_rslora", true.into(), "rank-stabilised"),
        ("rank_pattern", serde_json::json!({"q_proj": 2}), "rank per module"),
        ("layers_to_transform", serde_json::json!([0]), "subset of the layers"),
        ("peft_type", "IA3".into(), "peft_type"),
        ("r", 0.into(), "rank"),
        ("r", 257.into(), "rank"),
        ("r", 5.into(), "needs"),
        ("target_modules", serde_json::json!(["lm_head"]), "lm_head"),
    ];
    for (field, value, named) in cases {
        let error = edited(|config| config[field] = value.clone()).expect_err(field).to_string();
        assert!(error.contains(named), "{field}: {error}");
    }
    // Tensors without a place.
    let error = edited(|config| config["target_modules"] = serde_json::json!(["q_proj"]));
    assert!(error.expect_err("too many tensors").to_string().contains("no place"));
}

#[test]
fn an_adapter_of_another_shape_or_with_a_value_that_is_not_finite_is_refused() {
    let adapter = tiny::adapter(4, &[Site::Query], 3);
    let (config, mut weights) = adapter.to_bytes("tiny").expect("written");
    let narrow = DecoderConfig::llama(16, 2, (4, 2), 48, 64, 96);
    let narrow = Decoder::new(narrow.clone(), Weights::zeros(&narrow), false);
    let error = Adapter::from_bytes(&config, &weights, &narrow).expect_err("another shape");
    assert!(error.to_string().contains("the base needs"), "{error}");
    let end = weights.len();
    weights[end - 2..].copy_from_slice(&0x7f80u16.to_le_bytes());
    let error = Adapter::from_bytes(&config, &weights, &tiny::decoder(1)).expect_err("infinite");
    assert!(error.to_string().contains("not finite"), "{error}");
    assert!(Adapter::from_bytes(&config, &weights[..40], &tiny::decoder(1)).is_err());
}

#[test]
fn a_file_over_its_limit_is_refused_before_it_is_read() {
    let dir = tempfile::tempdir().expect("a folder");
    tiny::adapter(4, &[Site::Query], 3).save(dir.path(), "tiny").expect("saved");
    let long =
        std::fs::File::create(dir.path().join("adapter_model.safetensors")).expect("created");
    // A sparse file: it takes no space.
    long.set_len(openledger_model::ADAPTER_BYTES_MAX + 1).expect("extended");
    let error = Adapter::load(dir.path(), &tiny::decoder(1)).expect_err("too large");
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert!(matches!(Decoder::load(Path::new("/nowhere")), Err(Error::File { .. })));
}

#[test]
fn a_config_that_asks_for_more_than_the_file_holds_is_refused_before_memory_is_taken() {
    let dir = tempfile::tempdir().expect("a folder");
    tiny::weights(1).save(&tiny::config(), dir.path()).expect("saved");
    let mut greedy = tiny::config();
    (greedy.hidden_size, greedy.vocab_size, greedy.head_dim) = (1 << 14, 1 << 20, Some(8));
    std::fs::write(
        dir.path().join("config.json"),
        serde_json::to_vec(&greedy).expect("plain data"),
    )
    .expect("written");
    let error = Decoder::load(dir.path()).expect_err("too greedy").to_string();
    assert!(error.contains("do not fit in a file"), "{error}");
}

#[test]
fn a_config_this_decoder_would_run_wrongly_is_refused() {
    let good = serde_json::to_value(DecoderConfig::nano()).expect("plain data");
    let read = |config: &Value| DecoderConfig::from_json(config.to_string().as_bytes());
    assert_eq!(read(&good).expect("good"), DecoderConfig::nano());
    for (field, value) in [
        ("model_type", serde_json::json!("gemma")),
        ("hidden_act", serde_json::json!("gelu")),
        ("rope_scaling", serde_json::json!({"rope_type": "yarn", "factor": 8.0})),
        ("rope_scaling", serde_json::json!({"rope_type": "llama3", "factor": 8.0})),
        ("partial_rotary_factor", serde_json::json!(0.5)),
        ("sliding_window", serde_json::json!(16)),
        ("layer_types", serde_json::json!(["full_attention"])),
        ("final_logit_softcapping", serde_json::json!(30.0)),
        ("quantization_config", serde_json::json!({"quant_method": "awq"})),
        ("hidden_size", serde_json::json!(0)),
        ("hidden_size", serde_json::json!(1u64 << 40)),
        ("num_key_value_heads", serde_json::json!(3)),
        ("rms_norm_eps", serde_json::json!(0.0)),
    ] {
        let mut config = good.clone();
        config[field] = value;
        assert!(matches!(read(&config), Err(Error::Config(_))), "{field}");
    }
}
