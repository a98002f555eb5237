//! Good files for every target, made by code: what mutations begin with.

use crate::serving::{LowRankForm, ServingAdapter};
use crate::{Adapter, DecoderConfig, LoraLayout, Site, tokenizer_training::small_tokenizer};
use serde_json::{Value, json};

/// The shape of the base that adapters are read for.
pub(crate) fn config() -> DecoderConfig {
    DecoderConfig::llama(16, 2, (2, 1), 16, 16, 16)
}

fn adapter_on(sites: &[Site]) -> Adapter {
    let layout = LoraLayout::new(&config(), 2, 4.0, sites);
    Adapter::new(layout.clone(), &vec![0.5; layout.len()]).expect("finite")
}

pub(crate) fn adapter() -> Adapter {
    adapter_on(&Site::ALL)
}

/// Weight files: the one of an adapter, and each type of number.
pub fn safetensors() -> Vec<Vec<u8>> {
    let typed = |dtype: &str, bytes: usize| {
        let header = format!(
            r#"{{"__metadata__":{{"format":"pt"}},"a":{{"dtype":"{dtype}","shape":[2,3],"data_offsets":[0,{bytes}]}}}}"#
        );
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.resize(file.len() + bytes, 1);
        file
    };
    let adapter = adapter().to_bytes("fuzz").expect("written").1;
    vec![adapter, typed("F32", 24), typed("F16", 12), typed("BF16", 12)]
}

/// Configs for the weights of [`adapter`].
pub fn adapter_config() -> Vec<Vec<u8>> {
    let patterns = json!({
        "peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": Site::ALL,
        "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.mlp.up_proj": 3.5},
        "layers_to_transform": [0, 1], "use_rslora": true, "bias": "none", "init_lora_weights": "gaussian",
    });
    let all = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": "all-linear"});
    let written = adapter().to_bytes("fuzz").expect("written").0;
    vec![written, patterns.to_string().into_bytes(), all.to_string().into_bytes()]
}

/// Packed adapters of both forms, on all modules and on some.
pub fn packed_adapter() -> Vec<Vec<u8>> {
    let pack =
        |form, sites: &[Site]| ServingAdapter::pack(&adapter_on(sites), form).packed().to_vec();
    let some = [Site::Query, Site::Value, Site::Down];
    vec![
        pack(LowRankForm::Bf16, &Site::ALL),
        pack(LowRankForm::Int8, &Site::ALL),
        pack(LowRankForm::Bf16, &some),
        pack(LowRankForm::Int8, &some),
    ]
}

/// A config of each family: those of the parity tests.
pub fn model_config() -> Vec<Vec<u8>> {
    let of_parity = |file: &[u8]| {
        let vectors: Value = serde_json::from_slice(file).expect("JSON");
        vectors["config"].to_string().into_bytes()
    };
    let llama = serde_json::to_vec(&config()).expect("plain data");
    let families: [&[u8]; 6] = [
        include_bytes!("../../tests/parity/gemma2.json"),
        include_bytes!("../../tests/parity/gemma3.json"),
        include_bytes!("../../tests/parity/llama.json"),
        include_bytes!("../../tests/parity/llama_biases.json"),
        include_bytes!("../../tests/parity/qwen2.json"),
        include_bytes!("../../tests/parity/qwen3.json"),
    ];
    [llama].into_iter().chain(families.map(of_parity)).collect()
}

/// A byte-level BPE, and the shape that the tokenizers of the Llama family have.
pub fn tokenizer_json() -> Vec<Vec<u8>> {
    let trained = small_tokenizer().expect("trained").to_json().expect("written");
    let llama = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [
            {"id": 0, "content": "<unk>", "single_word": false, "lstrip": false, "rstrip": false,
             "normalized": false, "special": true},
            {"id": 1, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
             "normalized": false, "special": true}],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u{2581}"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": {"<unk>": 0, "<s>": 1, "\u{2581}": 2, "a": 3, "t": 4, "at": 5, "\u{2581}at": 6},
            "merges": [["a", "t"], ["\u{2581}", "at"]]},
    });
    vec![trained.into_bytes(), llama.to_string().into_bytes()]
}

/// Templates in the shapes that models have them.
pub fn chat_template() -> Vec<Vec<u8>> {
    const LOOP: &str = "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}<|user|>{{ \
         message['content'] | trim }}{% elif loop.first %}{{ raise_exception('no') }}{% else %}{{ \
         message.content.split('</think>')[-1].lstrip('\\n') }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}<|assistant|>{% endif %}";
    const NAMESPACE: &str = "{%- set ns = namespace(system='', last=-1) -%}{%- for m in messages -%}\
         {%- if m.role == 'system' -%}{%- set ns.system = m.content -%}{%- continue -%}{%- endif -%}\
         {%- set ns.last = loop.index0 -%}{{ '<|' ~ m.role ~ '|>' + m.content | trim + eos_token }}{%- endfor -%}\
         {%- macro end(x) -%}{{ x if x is string else x | tojson }}{%- endmacro -%}{{ end(ns.last) }}";
    [LOOP, NAMESPACE].map(|template| template.as_bytes().to_vec()).to_vec()
}
