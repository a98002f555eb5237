//! `--base org/name`: from a name to an answer, against a Hub on loopback.

use std::{fs, path::Path, process::Stdio, thread, time::Duration};

use serde_json::{Value, json};

use crate::{
    hub_server::{HubServer, Manners},
    machine::{Machine, QUESTION, interrupt},
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

#[tokio::test]
async fn up_and_the_benchmark_find_a_base_by_name_as_serve_does() {
    let machine = Machine::new();
    let silent = Manners { silent: Some("model.safetensors"), ..Manners::default() };
    let hub = HubServer::start(&nano(), silent);
    let cache = machine.path("cache").display().to_string();
    let variables = [("HF_HUB_CACHE", cache.as_str()), ("HF_ENDPOINT", &hub.endpoint)];

    // A download may be given up, and costs nothing but its time.
    let args = ["up", "--data-dir", "data", "--rpc-addr", "127.0.0.1:0", "--api-addr"];
    let mut command = machine.command(&args);
    command.args(["127.0.0.1:0", "--base", "org/tiny"]).envs(variables).stderr(Stdio::null());
    let mut given_up = command.spawn().unwrap();
    let mut asked = Vec::new();
    for _ in 0..600 {
        asked.extend(hub.asked());
        if asked.iter().any(|what| what.contains("model.safetensors")) {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert!(asked.iter().any(|what| what.contains("model.safetensors")), "{asked:?}");
    assert_eq!(interrupt(&mut given_up), Some(0));
    assert!(!machine.path("data/chain").exists(), "nothing was started");

    hub.behave(Manners::default());
    let up = machine.up_in(&variables, "records.jsonl", &["--base", "org/tiny"]);
    assert!(hub.asked().iter().any(|what| what.contains("model.safetensors")));
    assert!(!machine.path("data/bases").exists(), "the built-in base is not needed");
    let body = json!({ "model": "records", "messages": [{ "role": "user", "content": QUESTION }] });
    let (status, answer) = up.post("/chat/completions", None, &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(up.interrupt(), Some(0));

    let args =
        ["bench", "serve", "--json", "--base", "org/tiny", "--adapters", "1", "--seconds", "1"];
    let mut command = machine.command(&args);
    command.args(["--factors", "1", "--tokens", "4", "--clients", "2"]).envs(variables);
    let measured = command.output().unwrap();
    let errors = String::from_utf8_lossy(&measured.stderr);
    assert!(measured.status.success(), "{errors}");
    let measured: Value = serde_json::from_slice(&measured.stdout).unwrap();
    let phases = measured["phases"].as_array().unwrap();
    assert_eq!((phases.len(), phases[0]["failed"].as_u64()), (2, Some(0)), "{measured}");
    assert!(hub.asked().is_empty(), "what is in the cache is used without asking");
}
