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
    let cases: [(&str, Value, &str); 20] = [
        ("use_dora", true.into(), "DoRA"),
        ("bias", "all".into(), "bias"),
        ("modules_to_save", serde_json::json!(["lm_head"]), "modules_to_save"),
        ("lora_bias", true.into(), "bias on B"),
        ("fan_in_fan_out", true.into(), "transposed"),
        ("trainable_token_indices", serde_json::json!([1]), "trained tokens"),
        ("init_lora_weights", "pissa_niter_4".into(), "pissa"),
        ("rank_pattern", serde_json::json!({"q_proj": 2}), "needs"),
        ("rank_pattern", serde_json::json!({"(q|k)_proj": 4}), "regular expression"),
        ("rank_pattern", serde_json::json!({"q_proj": 300}), "rank 300"),
        ("alpha_pattern", serde_json::json!({"q_proj": -1}), "lora_alpha -1"),
        ("layers_pattern", "blocks".into(), "layers_pattern"),
        ("layers_to_transform", serde_json::json!([0]), "no place"),
        ("layers_to_transform", serde_json::json!([7]), "no layer"),
        ("target_modules", ".*_proj".into(), "not a list"),
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
    assert!(error.contains("do not fit in files"), "{error}");
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

#[test]
fn ranks_and_scales_of_single_modules_are_read_as_peft_reads_them() {
    let base = tiny::decoder(1);
    let uniform = edited(|_| ()).expect("uniform");
    // The same numbers, said in other ways.
    for edit in [
        |c: &mut Value| {
            c["rank_pattern"] = serde_json::json!({"q_proj": 4, "^model.layers.0.mlp.up_proj": 4})
        },
        |c: &mut Value| c["alpha_pattern"] = serde_json::json!({"self_attn.v_proj": 8.0}),
        |c: &mut Value| (c["use_rslora"], c["lora_alpha"]) = (true.into(), 4.into()),
        |c: &mut Value| c["layers_to_transform"] = serde_json::json!([0, 1]),
        |c: &mut Value| c["target_modules"] = "all-linear".into(),
    ] {
        let again = edited(edit).expect("the same adapter");
        let text = tiny::tokens(9, 1);
        let logits = |a| base.all_logits(&text, Some(a)).expect("fits");
        assert_eq!(logits(&again), logits(&uniform));
    }
    // alpha 4 at √4 is the scale of alpha 8 at 4, but the uniform hash states alpha.
    let stabilised = edited(|c| (c["use_rslora"], c["lora_alpha"]) = (true.into(), 4.into()));
    assert_ne!(stabilised.expect("read").hash(), uniform.hash());
    // The first key that matches counts, as in PEFT, not the longest.
    let first = edited(|c| {
        c["alpha_pattern"] =
            serde_json::from_str(r#"{"q_proj": 24, "layers.0.self_attn.q_proj": 8}"#)
                .expect("JSON");
    });
    assert_ne!(first.expect("read").hash(), uniform.hash());

    // An adapter with scales of its own goes through files unchanged.
    let other = edited(|c| {
        c["alpha_pattern"] = serde_json::json!({"layers.1.mlp.down_proj": 3, "k_proj": 5.5});
    })
    .expect("read");
    let (config, weights) = other.to_bytes("tiny").expect("written");
    let back = Adapter::from_bytes(&config, &weights, &base).expect("read again");
    assert_eq!(back.hash(), other.hash());
    assert_ne!(back.hash(), uniform.hash());
}

#[test]
fn the_hash_of_a_uniform_adapter_and_of_a_plain_base_are_what_they_always_were() {
    let hex = |hash: [u8; 32]| hash.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(
        hex(tiny::adapter(4, &Site::ALL, 3).hash()),
        "cfd8c019337298daf709250713171115b6b7ac2505b0230d5049ef9f6d404713"
    );
    // Computed from the files by another program, as `Decoder::hash` describes it.
    let nano = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/nano"));
    assert_eq!(
        hex(Decoder::load(nano).expect("loads").hash()),
        "47ed2ca3bfb12c887f929b75fcb5fd616017e346a2a3848ce6c696f10b920e6e"
    );
}

/// Saves a base, and again in two files with an index.
fn in_two_files(edit: impl Fn(&mut Value)) -> (tempfile::TempDir, Result<Decoder, Error>) {
    use safetensors::tensor::{SafeTensors, TensorView};
    let dir = tempfile::tempdir().expect("a folder");
    tiny::weights(1).save(&tiny::config(), dir.path()).expect("saved");
    let whole = dir.path().join("model.safetensors");
    let bytes = std::fs::read(&whole).expect("written");
    std::fs::remove_file(whole).expect("there");
    let tensors = SafeTensors::deserialize(&bytes).expect("good").tensors();
    let mut index = serde_json::json!({ "weight_map": {} });
    for (name, half) in [("a.safetensors", 0), ("b.safetensors", 1)] {
        let part: Vec<(&str, &TensorView<'_>)> =
            tensors.iter().map(|(n, t)| (n.as_str(), t)).skip(half).step_by(2).collect();
        for (tensor, _) in &part {
            index["weight_map"][tensor] = name.into();
        }
        let part = safetensors::serialize(part, None).expect("written");
        std::fs::write(dir.path().join(name), part).expect("written");
    }
    edit(&mut index);
    std::fs::write(dir.path().join("model.safetensors.index.json"), index.to_string())
        .expect("written");
    let decoder = Decoder::load(dir.path());
    (dir, decoder)
}

#[test]
fn weights_in_several_files_are_the_same_weights() {
    let (_, found) = in_two_files(|_| ());
    let dir = tempfile::tempdir().expect("a folder");
    tiny::weights(1).save(&tiny::config(), dir.path()).expect("saved");
    assert_eq!(found.expect("loads").hash(), Decoder::load(dir.path()).expect("loads").hash());

    for file in ["../b.safetensors", "/b.safetensors", "x/b.safetensors", "..", "b.bin"] {
        let (_, found) = in_two_files(|i| i["weight_map"]["model.norm.weight"] = file.into());
        let error = found.expect_err(file).to_string();
        assert!(error.contains("not the name of a file"), "{error}");
    }
    let (_, found) = in_two_files(|i| i["weight_map"]["model.nothing"] = "a.safetensors".into());
    assert!(found.expect_err("not there").to_string().contains("model.nothing is not in"));
}

#[test]
fn tensors_that_are_missing_or_have_no_place_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut deeper = tiny::config();
    tiny::weights(1).save(&deeper, dir.path()).expect("saved");
    let write = |config: &DecoderConfig| {
        let json = serde_json::to_vec(config).expect("plain data");
        std::fs::write(dir.path().join("config.json"), json).expect("written");
        Decoder::load(dir.path()).map(|d| d.config().tie_word_embeddings)
    };
    deeper.num_hidden_layers = 1;
    let error = write(&deeper).expect_err("a layer too many").to_string();
    assert!(error.contains("model.layers.1") && error.contains("no place"), "{error}");
    (deeper.num_hidden_layers, deeper.attention_bias) = (2, true);
    let error = write(&deeper).expect_err("no biases").to_string();
    assert!(error.contains("missing: model.layers.0.self_attn.q_proj.bias"), "{error}");
    // Without an output matrix: the embedding's, unless the config denies it.
    (deeper.attention_bias, deeper.tie_word_embeddings) = (false, false);
    assert!(write(&deeper).expect_err("denied").to_string().contains("lm_head.weight"));
    let mut silent = serde_json::to_value(&deeper).expect("plain data");
    silent.as_object_mut().expect("an object").remove("tie_word_embeddings");
    std::fs::write(dir.path().join("config.json"), silent.to_string()).expect("written");
    assert!(Decoder::load(dir.path()).expect("tied").config().tie_word_embeddings);
}
