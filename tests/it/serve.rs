//! `openledger serve`: the OpenAI API over one base and many adapters.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use openledger_model::{Adapter, Decoder, LoraLayout, Site};
use serde_json::{Value, json};

use crate::machine::Machine;

pub(crate) const NANO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/nano");

/// A running `openledger serve` over nano. Ended when dropped.
pub(crate) struct Serve {
    child: Child,
    url: String,
}

impl Serve {
    pub(crate) fn start(machine: &Machine, extra: &[&str]) -> Self {
        let mut args = vec!["serve", "--json", "--base", NANO, "--api-addr", "127.0.0.1:0"];
        args.extend(extra);
        Self::spawn(machine.command(&args))
    }

    /// Runs `serve --json` until it is dropped.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let about: Value = serde_json::from_str(&line).expect("`serve --json` prints one document");
        Self { child, url: about["api_url"].as_str().unwrap().to_owned() }
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let (status, text) = self.post_text(path, body).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn post_text(&self, path: &str, body: Value) -> (u16, String) {
        let request = reqwest::Client::new().post(format!("{}{path}", self.url)).json(&body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let response = reqwest::get(format!("{}{path}", self.url)).await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// PEFT folders of adapters that change what nano says.
pub(crate) fn adapters(folder: &Path, names: &[&str]) {
    let base = Decoder::load(Path::new(NANO)).unwrap();
    for (seed, name) in names.iter().enumerate() {
        let layout = LoraLayout::new(base.config(), 4 << seed, 16.0, &Site::ALL);
        let mut values = layout.random(seed as u64 + 1);
        for (i, x) in values.iter_mut().enumerate().filter(|(_, x)| **x == 0.0) {
            *x = ((i * 7919 + seed * 104_729) % 1_009) as f32 / 1_009.0 * 0.1 - 0.05;
        }
        Adapter::new(layout, &values).unwrap().save(&folder.join(name), "nano").unwrap();
    }
}

pub(crate) fn chat(model: &str, extra: Value) -> Value {
    let mut body = json!({
        "model": model, "max_tokens": 12,
        "messages": [{ "role": "user", "content": "What is a Datanet?" }],
    });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

pub(crate) fn text(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

#[tokio::test]
async fn one_server_answers_for_its_base_its_adapters_and_their_blends() {
    let machine = Machine::new();
    adapters(&machine.path("adapters"), &["plum", "fig", "later"]);
    fs::rename(machine.path("adapters/later"), machine.path("adapters/plum/later")).unwrap();
    let serve = Serve::start(&machine, &["--adapters", "adapters", "--name", "nano"]);

    let (_, models) = serve.get("/models").await;
    let ids: Vec<&str> =
        models["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids[0], "nano");
    assert!(ids.contains(&"plum") && ids.contains(&"fig") && ids.len() == 3, "{ids:?}");
    assert_eq!(models["data"][1]["parent"], "nano");

    let mut answers = Vec::new();
    for model in ["nano", "plum", "fig", "plum:0.5+fig:0.5"] {
        let (status, answer) = serve.post("/chat/completions", chat(model, json!({}))).await;
        assert_eq!((status, answer["model"].as_str()), (200, Some(model)), "{answer}");
        assert!((1..=12).contains(&answer["usage"]["completion_tokens"].as_u64().unwrap()));
        answers.push(text(&answer).to_owned());
    }
    let distinct: std::collections::BTreeSet<&String> = answers.iter().collect();
    assert_eq!(distinct.len(), 4, "{answers:?}");

    // All at once they say the same as one after the other.
    let asked = ["nano", "plum", "fig", "plum:0.5+fig:0.5"].map(|m| chat(m, json!({})));
    let together = asked.map(|body| serve.post("/chat/completions", body));
    for (answer, alone) in futures_util::future::join_all(together).await.iter().zip(&answers) {
        assert_eq!(text(&answer.1), alone);
    }

    let (_, listed) = serve.get("/adapters").await;
    let plum = listed["data"].as_array().unwrap().iter().find(|a| a["id"] == "plum").unwrap();
    assert_eq!(plum["resident"], true);
    let hash = plum["hash"].as_str().unwrap();
    let (_, by_hash) = serve.post("/chat/completions", chat(hash, json!({}))).await;
    assert_eq!(text(&by_hash), answers[1]);

    let (status, why) = serve.post("/chat/completions", chat("pear", json!({}))).await;
    assert_eq!((status, why["error"]["code"].as_str()), (404, Some("model_not_found")));
    let load = |path: &str| json!({ "lora_name": "later", "lora_path": path });
    assert_eq!(serve.post("/load_lora_adapter", load("../elsewhere")).await.0, 400);
    assert_eq!(serve.post("/load_lora_adapter", load("plum/later")).await.0, 200);
    assert_eq!(serve.post("/chat/completions", chat("later", json!({}))).await.0, 200);
    assert_eq!(serve.post("/unload_lora_adapter", json!({ "lora_name": "later" })).await.0, 200);
    assert_eq!(serve.post("/chat/completions", chat("later", json!({}))).await.0, 404);

    let (_, capacity) = serve.get("/adapters/capacity").await;
    assert_eq!(capacity["adapters_registered"], 2);
    let metrics = reqwest::get(serve.url.replace("/v1", "/metrics")).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.lines().any(|l| l.starts_with("openlora_adapter_answers_total{adapter=\"plum\"}"))
    );
}

#[tokio::test]
async fn completions_embeddings_choices_and_log_probabilities_have_openai_s_shapes() {
    let machine = Machine::new();
    let serve = Serve::start(&machine, &["--name", "nano"]);
    let body = json!({
        "model": "nano", "prompt": ["The market", "A quern"], "max_tokens": 5, "n": 2,
        "temperature": 1.0, "seed": 3, "logprobs": 2, "echo": false,
    });
    let (status, answer) = serve.post("/completions", body.clone()).await;
    assert_eq!(status, 200, "{answer}");
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 4);
    let indices: Vec<u64> = choices.iter().map(|c| c["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, [0, 1, 2, 3]);
    let logprobs = &choices[0]["logprobs"];
    let tokens = logprobs["tokens"].as_array().unwrap();
    assert_eq!(logprobs["token_logprobs"].as_array().unwrap().len(), tokens.len());
    assert!(logprobs["token_logprobs"][0].as_f64().unwrap() <= 0.0);
    let whole: String = tokens.iter().map(|token| token.as_str().unwrap()).collect();
    assert_eq!(whole, choices[0]["text"].as_str().unwrap());
    assert_eq!(serve.post("/completions", body).await.1["choices"], answer["choices"]);

    let stream = chat(
        "nano",
        json!({
            "stream": true, "n": 2, "stream_options": { "include_usage": true }, "logprobs": true,
        }),
    );
    let (_, events) = serve.post_text("/chat/completions", stream).await;
    let chunks: Vec<&str> = events.lines().filter_map(|l| l.strip_prefix("data: ")).collect();
    assert_eq!(chunks.last(), Some(&"[DONE]"));
    let chunks: Vec<Value> =
        chunks[..chunks.len() - 1].iter().map(|c| serde_json::from_str(c).unwrap()).collect();
    let finished = chunks.iter().filter(|c| !c["choices"][0]["finish_reason"].is_null());
    assert_eq!(finished.count(), 2);
    assert!(chunks.last().unwrap()["usage"]["completion_tokens"].as_u64().unwrap() > 2);

    let embed = json!({ "model": "nano", "input": ["mill", "mill", "lake"] });
    let (status, vectors) = serve.post("/embeddings", embed).await;
    assert_eq!(status, 200);
    let vector = |i: usize| -> Vec<f64> {
        let all = vectors["data"][i]["embedding"].as_array().unwrap();
        all.iter().map(|x| x.as_f64().unwrap()).collect()
    };
    assert_eq!((vector(0).len(), vector(0)), (256, vector(1)));
    assert_ne!(vector(0), vector(2));
    let length: f64 = vector(2).iter().map(|x| x * x).sum();
    assert!((length - 1.0).abs() < 1e-5);
}

#[tokio::test]
async fn overload_is_answered_at_once_and_a_key_is_asked_for() {
    let machine = Machine::new();
    let serve = Serve::start(&machine, &["--name", "nano", "--batch", "1", "--queue", "2"]);
    let long = || chat("nano", json!({ "max_tokens": 200, "stop": [] }));
    let client = reqwest::Client::new();
    let url = format!("{}/chat/completions", serve.url);
    let all = (0..12).map(|_| client.post(&url).json(&long()).send());
    let all = futures_util::future::join_all(all).await;
    let (mut served, mut refused) = (0, 0);
    for response in all {
        let response = response.unwrap();
        match response.status().as_u16() {
            200 => served += 1,
            429 => {
                let after = response.headers()["retry-after"].to_str().unwrap();
                assert!(after.parse::<u64>().unwrap() >= 1);
                refused += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(served >= 2 && refused >= 1 && served + refused == 12, "{served} {refused}");

    let keyed = Serve::start(&machine, &["--name", "nano", "--api-key", "sesame"]);
    assert_eq!(keyed.get("/models").await.0, 401);
    let with_key = client.get(format!("{}/models", keyed.url)).bearer_auth("sesame");
    assert_eq!(with_key.send().await.unwrap().status().as_u16(), 200);
}

/// `npm ci` in `tests/sdk` comes before.
#[test]
#[ignore = "needs the npm package of the official client, which a step of its own installs"]
fn the_official_javascript_client_works_unchanged() {
    client("node", "openai.mjs");
}

#[test]
#[ignore = "needs target/python with the official client, which a step of `--full` makes"]
fn the_official_python_client_works_unchanged() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/python/bin/python");
    client(own.to_str().unwrap(), "openai_client.py");
}

fn client(program: &str, script: &str) {
    let machine = Machine::new();
    adapters(&machine.path("adapters"), &["plum"]);
    let serve = Serve::start(
        &machine,
        &["--adapters", "adapters", "--name", "nano", "--api-key", "sesame"],
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sdk").join(script);
    let output = Command::new(program).arg(script).arg(&serve.url).arg("sesame").output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("all good"), "{out}\n{err}");
}
