//! `openledger serve --base org/name`: from a name to an answer, against a Hub on loopback.

use std::{fs, path::Path, process::Stdio};

use serde_json::json;

use crate::{
    hub_server::{HubServer, Manners},
    machine::Machine,
    serve::{NANO, Serve, adapters, chat, text},
};

/// The files of nano.
fn nano() -> Vec<(&'static str, Vec<u8>)> {
    [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "model.safetensors",
    ]
    .into_iter()
    .filter_map(|file| Some((file, fs::read(Path::new(NANO).join(file)).ok()?)))
    .collect()
}

#[tokio::test]
async fn a_name_is_fetched_and_served_and_the_next_start_needs_no_network() {
    let machine = Machine::new();
    let hub = HubServer::start(&nano(), Manners { token: Some("secret"), ..Manners::default() });
    let cache = machine.path("cache");
    let with = |token: &str, more: &[&str]| {
        let mut command = machine.command(&["serve", "--json", "--api-addr", "127.0.0.1:0"]);
        command.args(["--base", "org/tiny"]).args(more);
        command
            .env("HF_HUB_CACHE", &cache)
            .env("HF_ENDPOINT", &hub.endpoint)
            .env("HF_TOKEN", token);
        command
    };
    let refused =
        with("wrong", &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && why.contains("status 401") && why.contains("HF_TOKEN"),
        "{why}"
    );

    let files = nano();
    let serve = Serve::spawn(with("secret", &[]));
    let (status, answer) = serve.post("/chat/completions", chat("tiny", json!({}))).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(hub.asked().len(), 1 + files.len());
    let first = text(&answer).to_owned();
    drop(serve);

    adapters(&machine.path("adapters"), &["plum"]);
    let plum = format!("plum={}", machine.path("adapters/plum").display());
    let serve = Serve::spawn(with("none", &["--adapter", &plum]));
    let (_, answer) = serve.post("/chat/completions", chat("tiny", json!({}))).await;
    assert_eq!(text(&answer), first);
    assert_eq!(serve.post("/chat/completions", chat("plum", json!({}))).await.0, 200);
    assert!(hub.asked().is_empty(), "what is in the cache is used without asking");
}
