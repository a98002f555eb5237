//! `openledger adapter`: from a PEFT folder to a file that is served as the folder is.

use std::{fs, path::Path};

use openledger_model::{Adapter, Decoder, DecoderConfig, LoraLayout, Site, Weights};
use serde_json::{Value, json};

use crate::{
    machine::Machine,
    serve::{NANO, Serve, adapters, chat, text},
};

fn run(machine: &Machine, args: &[&str]) -> Result<Value, String> {
    let mut command = machine.command(args);
    let output = command.arg("--json").env("HF_HUB_OFFLINE", "1").output().unwrap();
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).expect("one document"));
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn a_packed_adapter_says_what_it_is_and_answers_as_its_folder_does() {
    let machine = Machine::new();
    adapters(&machine.path("peft"), &["plum"]);
    let pack = |more: &[&str]| {
        let args = ["adapter", "pack", "peft/plum", "--base", NANO, "--out", "packed"];
        run(&machine, &[&args[..], more].concat())
    };
    let named = pack(&["--name", "plum"]).unwrap();
    let by_hash = pack(&[]).unwrap();
    let base = Decoder::load(Path::new(NANO)).unwrap();
    let folder = Adapter::load(&machine.path("peft/plum"), &base).unwrap();
    let hex = |hash: [u8; 32]| hash.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let hash = hex(folder.hash());
    assert_eq!(
        (named["hash"].as_str(), named["base"].as_str()),
        (Some(&*hash), Some(&*hex(base.hash())))
    );
    assert_eq!(by_hash["file"].as_str().unwrap(), format!("packed/{hash}.adapter"));
    assert_eq!((named["rank"].as_u64(), named["form"].as_str()), (Some(4), Some("bf16")));
    assert_eq!(named["targets"], json!(Site::ALL.map(Site::name)));
    let length = fs::metadata(machine.path("packed/plum.adapter")).unwrap().len();
    assert_eq!(named["bytes"].as_u64(), Some(length));
    // Twice the same, byte for byte; in eight bits smaller.
    assert_eq!(
        fs::read(machine.path("packed/plum.adapter")).unwrap(),
        fs::read(machine.path(&format!("packed/{hash}.adapter"))).unwrap()
    );
    let small = pack(&["--form", "int8", "--name", "small"]).unwrap();
    assert!(small["bytes"].as_u64() < named["bytes"].as_u64() && small["hash"] == named["hash"]);
    let shown = run(&machine, &["adapter", "show", "packed/plum.adapter", "--base", NANO]).unwrap();
    assert_eq!(shown, named);

    // Beside a PEFT folder, in one adapter folder.
    fs::remove_file(machine.path("packed/small.adapter")).unwrap();
    fs::remove_file(machine.path(&format!("packed/{hash}.adapter"))).unwrap();
    adapters(&machine.path("packed"), &["other", "folder"]);
    let packed = Serve::start(&machine, &["--adapters", "packed"]);
    let read = Serve::start(&machine, &["--adapters", "peft"]);
    let (status, a) = packed.post("/chat/completions", chat("plum", json!({}))).await;
    let (_, b) = read.post("/chat/completions", chat("plum", json!({}))).await;
    assert_eq!((status, text(&a)), (200, text(&b)));
    assert_eq!(packed.post("/chat/completions", chat("folder", json!({}))).await.0, 200);
}

#[test]
fn what_cannot_be_packed_or_shown_is_named() {
    let machine = Machine::new();
    adapters(&machine.path("peft"), &["plum"]);
    // A base of another shape, with what a base folder must have.
    let config = DecoderConfig::llama(16, 2, (2, 1), 16, 16, 16);
    let mut weights = Weights::random(&config, 1);
    weights.save(&config, &machine.path("other")).unwrap();
    fs::write(machine.path("other/tokenizer.json"), "{}").unwrap();
    let refused = |args: &[&str]| run(&machine, args).expect_err("refused");
    let why = refused(&["adapter", "pack", "peft/plum", "--base", "other"]);
    assert!(why.contains("the base needs [") && why.contains("is other the base"), "{why}");
    let why = refused(&["adapter", "pack", "peft/none", "--base", NANO]);
    assert!(why.contains("there is no adapter peft/none"), "{why}");
    let why = refused(&["adapter", "pack", "peft/plum", "--base", NANO, "--name", "../x"]);
    assert!(why.contains("cannot be the name of a file"), "{why}");

    let other = Decoder::new(config.clone(), weights, false);
    let layout = LoraLayout::new(other.config(), 2, 4.0, &[Site::Query, Site::Value, Site::Up]);
    let values = layout.random(1);
    Adapter::new(layout, &values).unwrap().save(&machine.path("peft/small"), "other").unwrap();
    let packed =
        run(&machine, &["adapter", "pack", "peft/small", "--base", "other", "--name", "s"])
            .unwrap();
    assert_eq!(packed["targets"], json!(["q_proj", "v_proj", "up_proj"]));
    let why = refused(&["adapter", "show", "s.adapter", "--base", NANO]);
    assert!(why.contains("packed for another base"), "{why}");
    let mut bytes = fs::read(machine.path("s.adapter")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(machine.path("s.adapter"), &bytes).unwrap();
    let why = refused(&["adapter", "show", "s.adapter"]);
    assert!(why.contains("damaged") && why.contains("adapter pack"), "{why}");
}
