//! `openledger node`: the chain alone, its settings, who may call, what it tells of itself.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use reqwest::{Client, Response, header::HeaderMap};
use serde_json::{Value, json};

use crate::machine::Machine;

/// A running `openledger node`. Ended when dropped.
struct Node {
    child: Child,
    about: Value,
}

impl Node {
    /// Starts it on free ports in the scenario's folder and waits until it says where it is.
    fn start(machine: &Machine, extra: &[&str]) -> Self {
        let mut args = vec!["node", "--json", "--data-dir", "data", "--rpc-port", "0"];
        args.extend(["--metrics-addr", "127.0.0.1:0", "--log-level", "error"]);
        args.extend(extra);
        let mut child = machine.command(&args).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let about = serde_json::from_str(&line).expect("`node --json` prints one document");
        Self { child, about }
    }

    fn text(&self, name: &str) -> &str {
        self.about[name].as_str().unwrap()
    }

    async fn post(&self, headers: &[(&'static str, &str)]) -> Response {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": [] });
        let mut request = Client::new().post(self.text("rpc_url")).json(&body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    async fn rpc(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let response = Client::new().post(self.text("rpc_url")).json(&body).send().await;
        response.unwrap().json::<Value>().await.unwrap()["result"].clone()
    }

    /// Asks for a WebSocket; the status says whether it was given.
    async fn web_socket(&self, origin: &str) -> u16 {
        let request = Client::new()
            .get(self.text("rpc_url"))
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("origin", origin);
        request.send().await.unwrap().status().as_u16()
    }

    /// GETs from the metrics address: status and text.
    async fn look(&self, path: &str, headers: &[(&'static str, &str)]) -> (u16, String) {
        let mut request = Client::new().get(format!("{}{path}", self.text("metrics_url")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Sends a signal and returns the exit code.
    fn end(mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        Command::new("kill").args([signal, &pid]).status().unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Already ended in most scenarios.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The value of a line in the Prometheus text.
fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
}

fn allowed_origin(headers: &HeaderMap) -> Option<&str> {
    headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_node_says_where_it_is_and_how_it_does() {
    let machine = Machine::new();
    let node = Node::start(&machine, &["--dev"]);
    assert_eq!(node.about["chain_id"], 161_337);
    assert_eq!(node.rpc("eth_chainId", json!([])).await, "0x27639");
    let market = "0x4f4c000000000000000000000000000000000003";
    let code = node.rpc("eth_getCode", json!([market, "latest"])).await;
    assert!(code.as_str().unwrap().len() > 1_000, "the contracts are in the genesis: {code}");

    let (status, text) = node.look("/metrics", &[]).await;
    assert_eq!(status, 200);
    let calls = "openledger_rpc_requests_total{method=\"eth_getCode\",outcome=\"ok\"}";
    assert_eq!(metric(&text, calls), 1.0);
    assert!(metric(&text, "process_resident_memory_bytes") > 1e6);
    assert!(metric(&text, "openledger_block_log_bytes") > 0.0);
    assert!(metric(&text, "openledger_head_timestamp_seconds") > 1.7e9);
    let (status, health) = node.look("/health", &[]).await;
    assert_eq!((status, health.contains("\"healthy\":true")), (200, true), "{health}");
    let (status, ready) = node.look("/ready", &[]).await;
    assert_eq!((status, ready.contains("\"ready\":true")), (200, true), "{ready}");
    assert_eq!(node.look("/", &[]).await.0, 404);
    assert_eq!(node.end("-INT"), Some(0));
}

#[tokio::test]
async fn a_node_that_was_asked_to_stop_continues_with_the_same_blocks() {
    let machine = Machine::new();
    let node = Node::start(&machine, &["--dev"]);
    let head = node.rpc("eth_getBlockByNumber", json!(["latest", false])).await;
    let genesis = node.about["genesis_hash"].clone();
    assert_eq!(node.end("-TERM"), Some(0));

    let node = Node::start(&machine, &["--dev"]);
    assert_eq!(node.about["genesis_hash"], genesis);
    let again = node.rpc("eth_getBlockByNumber", json!([head["number"], false])).await;
    assert_eq!(again["hash"], head["hash"]);
    assert_eq!(node.end("-TERM"), Some(0));
}

#[tokio::test]
async fn the_files_for_other_nodes_are_a_genesis_for_this_one() {
    let machine = Machine::new();
    let node = Node::start(&machine, &["--dev"]);
    let genesis = node.about["genesis_hash"].clone();
    assert_eq!(node.end("-TERM"), Some(0));
    let export = ["node", "export-genesis", "--data-dir", "data", "--out", "exported"];
    assert!(machine.run(&export).status.success());

    // The data directory holds that chain and no other, so batcher and fees are the same too.
    let exported = machine.path("exported/genesis.json");
    let node = Node::start(&machine, &["--genesis", exported.to_str().unwrap()]);
    assert_eq!(node.about["genesis_hash"], genesis);
    assert_eq!(node.end("-TERM"), Some(0));

    let text = fs::read_to_string(&exported).unwrap();
    fs::write(&exported, text.replace("\"isthmusTime\": 0", "\"isthmusTime\": 9")).unwrap();
    let output =
        machine.run(&["node", "--data-dir", "other", "--genesis", exported.to_str().unwrap()]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("config.isthmusTime must be 0"), "{errors}");
}

#[tokio::test]
async fn a_name_that_is_not_the_nodes_own_is_refused_with_the_way_out() {
    let machine = Machine::new();
    let node = Node::start(&machine, &["--dev", "--allowed-host", "node.example"]);
    for host in ["localhost", "127.0.0.1:1", "[::1]:8545", "node.example:8545"] {
        assert_eq!(node.post(&[("host", host)]).await.status(), 200, "{host}");
    }
    let refused = node.post(&[("host", "evil.example")]).await;
    assert_eq!(refused.status(), 403);
    let said = refused.text().await.unwrap();
    assert!(said.contains("evil.example") && said.contains("--allowed-host"), "{said}");
    assert_eq!(node.look("/metrics", &[("host", "evil.example")]).await.0, 403);
    assert_eq!(node.look("/metrics", &[("host", "node.example")]).await.0, 200);
}

#[tokio::test]
async fn pages_may_call_a_development_chain_and_others_only_from_listed_origins() {
    let page = ("origin", "https://app.example");
    let machine = Machine::new();
    let node = Node::start(&machine, &["--dev"]);
    assert_eq!(allowed_origin(node.post(&[page]).await.headers()), Some("*"));
    assert_eq!(node.web_socket("https://app.example").await, 101);
    assert_eq!(node.end("-TERM"), Some(0));

    let node = Node::start(&machine, &["--dev", "--cors-origin", "https://app.example"]);
    assert_eq!(allowed_origin(node.post(&[page]).await.headers()), Some("https://app.example"));
    let other = node.post(&[("origin", "https://evil.example")]).await;
    assert_eq!(allowed_origin(other.headers()), None, "the browser keeps the answer from the page");
    assert_eq!(node.web_socket("https://app.example").await, 101);
    assert_eq!(node.web_socket("https://evil.example").await, 403);
    assert_eq!(node.end("-TERM"), Some(0));

    // A chain that is not for development: the genesis that the data directory remembers.
    let genesis = machine.path("data/genesis.json");
    let node = Node::start(&machine, &["--genesis", genesis.to_str().unwrap()]);
    assert_eq!(allowed_origin(node.post(&[page]).await.headers()), None);
    assert_eq!(node.web_socket("https://app.example").await, 403);
}

#[test]
fn each_setting_comes_from_flags_then_environment_then_file_then_defaults() {
    let machine = Machine::new();
    let file = "dev = true\nhistory_blocks = 1\ndata_dir = \"from-file\"\n\
                cors_origins = [\"https://file.example\"]\n";
    fs::write(machine.path("node.toml"), file).unwrap();
    let args = ["node", "--config", "node.toml", "--print-config", "--history-blocks", "3"];
    let output = machine
        .command(&args)
        .env("OPENLEDGER_HISTORY_BLOCKS", "2")
        .env("OPENLEDGER_CORS_ORIGINS", "https://a.example,https://b.example")
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    for line in [
        "dev = true",
        "history_blocks = 3",
        "data_dir = \"from-file\"",
        "cors_origins = [\"https://a.example\", \"https://b.example\"]",
        "rpc_addr = \"127.0.0.1:8545\"",
        "log_level = \"info\"",
        "# metrics_addr is not set",
    ] {
        assert!(printed.lines().any(|found| found == line), "{line} is not in\n{printed}");
    }
    // What was printed is a file that gives the same settings.
    fs::write(machine.path("again.toml"), &printed).unwrap();
    let again = machine.run(&["node", "--config", "again.toml", "--print-config"]);
    assert_eq!(String::from_utf8(again.stdout).unwrap(), printed);
}

#[test]
fn what_a_node_cannot_do_it_says_before_it_starts() {
    let machine = Machine::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    fs::write(machine.path("typo.toml"), "dev = true\nrpc_adr = \"127.0.0.1:0\"\n").unwrap();
    fs::write(machine.path("a-file"), "").unwrap();
    let free = "127.0.0.1:0";
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["--config", "typo.toml"], 2, &["typo.toml", "rpc_adr", "--print-config"]),
        (&["--config", "missing.toml"], 3, &["missing.toml"]),
        (&[], 2, &["--dev", "--genesis"]),
        (&["--genesis", "missing.json"], 3, &["missing.json"]),
        (&["--genesis", "typo.toml"], 2, &["typo.toml", "not a genesis"]),
        (&["--dev", "--rpc-addr", &taken], 5, &[&taken, "in use", "--rpc-addr"]),
        (
            &["--dev", "--rpc-addr", free, "--metrics-addr", &taken],
            5,
            &[&taken, "in use", "--metrics-addr"],
        ),
        (&["--dev", "--rpc-addr", "0.0.0.0:0"], 2, &["0.0.0.0:0", "--dev-public"]),
        (&["--dev", "--rpc-addr", free, "--data-dir", "a-file"], 7, &["a-file"]),
        (&["--dev", "--allowed-host", "http://a"], 2, &["allowed_hosts", "http://a"]),
        (&["--dev", "--cors-origin", "a.example"], 2, &["cors_origins", "a.example"]),
        (&["--dev", "--log-level", "loud"], 2, &["loud"]),
        (&["--dev", "--log-level", "openledger=loud"], 2, &["loud"]),
    ];
    for (args, exit, words) in cases {
        let args: Vec<_> = ["node"].iter().chain(*args).collect();
        let output = machine.run(&args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*exit), "{args:?}: {errors}");
        for word in *words {
            assert!(errors.contains(word), "{args:?}: {word} is not in {errors}");
        }
    }
}

#[tokio::test]
async fn log_lines_can_be_read_by_machines() {
    let machine = Machine::new();
    let mut command =
        machine.command(&["node", "--dev", "--rpc-port", "0", "--log-format", "json"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut events = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let runs = events.find(|event| event["fields"]["chain_id"] == 161_337);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(runs.expect("it says that it runs")["level"], "INFO");
}
