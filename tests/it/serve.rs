//! `openledger serve`: the OpenAI API over one base and many adapters.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use openledger_model::{Adapter, Decoder, LoraLayout, Site, serving::ServingAdapter};
use serde_json::{Value, json};

use crate::machine::Machine;

pub(crate) const NANO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/nano");

/// A running `openledger serve` over nano. Ended when dropped.
pub(crate) struct Serve {
    pub(crate) child: Child,
    pub(crate) url: String,
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

    async fn metrics(&self) -> String {
        let url = self.url.replace("/v1", "/metrics");
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
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
    for line in [
        "openlora_adapter_answers_total{adapter=\"plum\"}",
        "openlora_adapter_time_to_first_token_seconds_count{adapter=\"base\"}",
        "openlora_adapter_bytes{adapter=\"fig\",tier=\"memory\"}",
        "openlora_adapter_pinned{adapter=\"fig\"} 0",
        "openlora_tenant_queue_time_seconds_sum{tenant=\"\"}",
    ] {
        assert!(metrics.lines().any(|l| l.starts_with(line)), "{line} is missing in\n{metrics}");
    }
}

#[tokio::test]
async fn an_adapter_is_loaded_packed_or_not_and_replaced_in_place_or_refused_with_a_reason() {
    let machine = Machine::new();
    adapters(&machine.path("all"), &["plum", "fig"]);
    fs::create_dir_all(machine.path("adapters/deep/down")).unwrap();
    let base = Decoder::load(Path::new(NANO)).unwrap();
    let deep = machine.path("adapters/deep");
    let packed = |name: &str| {
        ServingAdapter::new(&Adapter::load(&machine.path(&format!("all/{name}")), &base).unwrap())
    };
    packed("plum").save(&deep.join("down/plum.adapter"), base.hash()).unwrap();
    packed("plum").save(&deep.join("foreign.adapter"), [7; 32]).unwrap();
    fs::write(deep.join("notes.txt"), "no adapter at all").unwrap();
    fs::rename(machine.path("all/fig"), deep.join("fig")).unwrap();
    let serve = Serve::start(&machine, &["--adapters", "adapters", "--name", "nano"]);
    let load = |path: &str, inplace: Option<bool>| {
        let mut body = json!({ "lora_name": "fruit", "lora_path": path });
        if let Some(inplace) = inplace {
            body["load_inplace"] = inplace.into();
        }
        serve.post("/load_lora_adapter", body)
    };
    let say = async || {
        let (status, answer) = serve.post("/chat/completions", chat("fruit", json!({}))).await;
        assert_eq!(status, 200, "{answer}");
        text(&answer).to_owned()
    };

    let (status, done) = load("deep/down/plum.adapter", None).await;
    assert_eq!((status, done.as_str().unwrap().starts_with("Success")), (200, true), "{done}");
    let plum = say().await;
    let (status, taken) = load("deep/fig", None).await;
    assert_eq!((status, taken["error"]["param"].as_str()), (400, Some("lora_name")), "{taken}");
    assert!(taken["error"]["message"].as_str().unwrap().contains("`load_inplace`"));

    let absolute = deep.join("fig/adapter_model.safetensors");
    for (path, why) in [
        ("deep/nothing", "there is none"),
        ("../all/plum", "there is none"),
        ("deep/down", "PEFT folder"),
        ("deep/notes.txt", "does not begin as one"),
        (absolute.to_str().unwrap(), "`openledger adapter pack`"),
        ("deep/foreign.adapter", "another base"),
    ] {
        for inplace in [None, Some(true)] {
            let (status, error) = load(path, inplace).await;
            let param = error["error"]["param"].as_str();
            assert_eq!((status, param), (400, Some("lora_path")), "{path}: {error}");
            let message = error["error"]["message"].as_str().unwrap();
            assert!(message.contains(why), "{path}: {message}");
        }
    }
    assert_eq!(say().await, plum, "what was refused changed nothing");

    assert_eq!(load("deep/fig", Some(false)).await.0, 400);
    assert_eq!(load("deep/fig", Some(true)).await.0, 200);
    let fig = say().await;
    assert_ne!(fig, plum);
    // New numbers under the name it has: what a trainer does after each step.
    packed("plum").save(&deep.join("fig.adapter"), base.hash()).unwrap();
    assert_eq!(load("deep/fig.adapter", Some(true)).await.0, 200);
    assert_eq!(say().await, plum);
    let (_, listed) = serve.get("/adapters").await;
    assert_eq!(listed["total"], 1, "{listed}");
    assert_eq!(serve.post("/unload_lora_adapter", json!({ "lora_name": "fruit" })).await.0, 200);
    assert_eq!(load("deep/fig", Some(true)).await.0, 200, "a name that is free is taken");
    assert_eq!(say().await, fig);
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

/// A form that comes to an end in few tokens, whatever the model would rather say.
fn weather() -> Value {
    json!({
        "type": "object",
        "properties": {
            "town": { "type": "string", "maxLength": 8 },
            "degrees": { "type": "integer", "minimum": -50, "maximum": 50 },
            "sky": { "type": "string", "enum": ["clear", "\"grey\"", "weiß"] },
        },
        "required": ["town", "degrees", "sky"],
        "additionalProperties": false,
    })
}

fn is_weather(text: &str) -> bool {
    let value: Value = serde_json::from_str(text).unwrap();
    let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
    keys.len() == 3
        && value["town"].as_str().unwrap().chars().count() <= 8
        && (-50..=50).contains(&value["degrees"].as_i64().unwrap())
        && ["clear", "\"grey\"", "weiß"].contains(&value["sky"].as_str().unwrap())
}

#[tokio::test]
async fn answers_in_json_are_json_of_the_schema_whatever_the_model_would_say() {
    let machine = Machine::new();
    adapters(&machine.path("adapters"), &["plum"]);
    let serve = Serve::start(&machine, &["--adapters", "adapters", "--name", "nano"]);
    let format = json!({ "type": "json_schema", "json_schema": {
        "name": "weather", "strict": true, "schema": weather(),
    } });
    let asked = (0..8u64).map(|seed| {
        let extra = json!({
            "response_format": format, "n": 3, "temperature": 1.5, "seed": 10 * seed,
            "max_tokens": 120,
        });
        chat(["nano", "plum"][seed as usize % 2], extra)
    });
    let answers = asked.map(|body| serve.post("/chat/completions", body));
    let mut distinct = std::collections::BTreeSet::new();
    for (status, answer) in futures_util::future::join_all(answers).await {
        assert_eq!(status, 200, "{answer}");
        for choice in answer["choices"].as_array().unwrap() {
            let text = choice["message"]["content"].as_str().unwrap();
            assert_eq!(choice["finish_reason"], "stop", "{text}");
            assert!(is_weather(text), "{text}");
            distinct.insert(text.to_owned());
        }
    }
    assert!(distinct.len() > 12, "each answer is drawn by itself: {distinct:?}");

    let object = |seed: u64| {
        let extra = json!({
            "response_format": { "type": "json_object" }, "temperature": 1.0, "seed": seed, "n": 4,
            "max_tokens": 100, "logit_bias": {},
        });
        serve.post("/chat/completions", chat("nano", extra))
    };
    for (status, answer) in futures_util::future::join_all((0..6).map(object)).await {
        assert_eq!(status, 200, "{answer}");
        for choice in answer["choices"].as_array().unwrap() {
            let text = choice["message"]["content"].as_str().unwrap();
            match choice["finish_reason"].as_str().unwrap() {
                "stop" => assert!(serde_json::from_str::<Value>(text).unwrap().is_object()),
                other => assert_eq!((other, &text[..1]), ("length", "{")),
            }
        }
    }

    let stream = json!({
        "response_format": format, "stream": true, "max_tokens": 120, "temperature": 1.0, "seed": 5,
    });
    let (_, events) = serve.post_text("/chat/completions", chat("plum", stream)).await;
    let chunks = events.lines().filter_map(|l| l.strip_prefix("data: ")).filter(|c| *c != "[DONE]");
    let text: String = chunks
        .filter_map(|chunk| {
            let chunk: Value = serde_json::from_str(chunk).unwrap();
            chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)
        })
        .collect();
    assert!(is_weather(&text), "{text}");

    let few = json!({ "response_format": format, "max_tokens": 3 });
    let (_, cut) = serve.post("/chat/completions", chat("nano", few)).await;
    assert_eq!(cut["choices"][0]["finish_reason"], "length");

    for schema in [json!({ "not": {} }), json!({ "type": "thing" })] {
        let format =
            json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema } });
        let wrong = chat("nano", json!({ "response_format": format }));
        let (status, why) = serve.post("/chat/completions", wrong).await;
        let error = &why["error"];
        assert_eq!((status, error["param"].as_str()), (400, Some("response_format")), "{why}");
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["message"].as_str().unwrap().starts_with("Invalid schema for `x`"), "{why}");
    }
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

#[tokio::test]
async fn what_has_no_place_is_refused_before_anything_is_made_ready_for_it() {
    let machine = Machine::new();
    adapters(&machine.path("adapters"), &["plum"]);
    let extra = ["--name", "nano", "--adapters", "adapters", "--queue", "0"];
    let serve = Serve::start(&machine, &extra);
    // Neither would be served with a place: the schema cannot be enforced, the prompt has no room.
    let format = json!({
        "type": "json_schema",
        "json_schema": { "name": "x", "schema": { "type": "nonsense" } },
    });
    let schema = chat("plum", json!({ "response_format": format, "user": "ada" }));
    assert_eq!(serve.post("/chat/completions", schema).await.0, 429);
    let words = "word ".repeat(20_000);
    let long = json!({ "model": "nano", "prompt": words, "user": "ada" });
    assert_eq!(serve.post("/completions", long).await.0, 429);
    // Of what the server does not know it says that first.
    assert_eq!(serve.post("/chat/completions", chat("fig", json!({}))).await.0, 404);
    let metrics = serve.metrics().await;
    for line in [
        "openlora_requests_refused_total 2",
        "openlora_tenant_requests_refused_total{tenant=\"ada\"} 2",
        "openlora_adapter_requests_refused_total{adapter=\"plum\"} 1",
        "openlora_adapter_requests_refused_total{adapter=\"base\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn an_adapter_that_dominates_is_merged_says_the_same_and_is_let_go_in_mixed_traffic() {
    let machine = Machine::new();
    adapters(&machine.path("adapters"), &["plum", "fig"]);
    // In 32 bits the two ways of reading are rounded so little apart that the words are the same.
    let f32 = ["--weights", "f32", "--kv", "f32", "--merged-mib", "256"];
    let serve = Serve::start(
        &machine,
        &[&["--name", "nano", "--adapters", "adapters"][..], &f32[..]].concat(),
    );
    let long = |model: &str| {
        // The end token is never drawn.
        chat(model, json!({ "max_tokens": 200, "logit_bias": { "0": -100.0 } }))
    };
    let say = async |model: &str| {
        let (status, answer) = serve.post("/chat/completions", long(model)).await;
        assert_eq!(status, 200, "{answer}");
        text(&answer).to_owned()
    };
    let before = say("plum").await;
    let other = say("fig").await;
    assert_ne!(before, other);
    let value = async |name: &str| -> u64 {
        let metrics = serve.metrics().await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} is not in\n{metrics}")).trim().parse().unwrap()
    };
    // A window is a thousand steps.
    for _ in 0..100 {
        if value("openlora_merged_bytes ").await > 0 {
            break;
        }
        assert_eq!(say("plum").await, before);
    }
    assert_eq!(value("openlora_merged_copies_total ").await, 1);
    assert_eq!(say("plum").await, before, "merged");
    for _ in 0..100 {
        if value("openlora_merged_bytes ").await == 0 {
            break;
        }
        let (plum, fig, base) = tokio::join!(say("plum"), say("fig"), say("nano"));
        assert_eq!((&plum, &fig), (&before, &other));
        assert_ne!(base, plum);
    }
    assert_eq!(value("openlora_merged_bytes ").await, 0);
    assert_eq!(value("openlora_merged_copies_total ").await, 1);
    assert_eq!(say("plum").await, before, "apart again");
}
