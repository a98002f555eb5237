//! Clients of `openledger serve`: such that leave at any moment, and the official ones.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
};

use serde_json::{Value, json};

use crate::machine::Machine;
use crate::serve::{Serve, adapters, chat, text};

#[test]
fn clients_that_leave_at_any_moment_leave_nothing_behind() {
    disconnects(300);
}

#[test]
#[ignore = "takes minutes; run by `cargo xtask test --full`"]
fn ten_thousand_clients_that_leave_at_any_moment_leave_nothing_behind() {
    disconnects(10_000);
}

/// What a server holds.
#[derive(Debug)]
struct Held {
    capacity: Value,
    files: usize,
    /// Threads of ours.
    threads: usize,
    /// Threads of the runtime. One that has done what blocks ends by itself when it was idle for ten seconds.
    runtime: usize,
}

impl Held {
    fn by(serve: &Serve, runtime: &tokio::runtime::Runtime) -> Self {
        let (_, capacity) = runtime.block_on(serve.get("/adapters/capacity"));
        let process = format!("/proc/{}", serve.child.id());
        let entries = |what: &str| fs::read_dir(format!("{process}/{what}")).unwrap().flatten();
        // One may end between being listed and being read.
        let names = entries("task").flat_map(|task| fs::read_to_string(task.path().join("comm")));
        let (of_runtime, ours): (Vec<_>, Vec<_>) =
            names.partition(|name| name.starts_with("tokio-"));
        // The allocator starts a thread when there is something to give back.
        let ours = ours.iter().filter(|name| !name.starts_with("jemalloc"));
        let (threads, runtime) = (ours.count(), of_runtime.len());
        Self { capacity, files: entries("fd").count(), threads, runtime }
    }

    /// Whether something is left of what came since `before`.
    fn is_more_than(&self, before: &Self) -> bool {
        self.capacity != before.capacity
            || (self.files, self.threads) != (before.files, before.threads)
            || self.runtime > before.runtime
    }
}

/// Clients by the thousand, sixteen at a time, that leave while they ask, while they wait or while they read.
fn disconnects(clients: u64) {
    let machine = Machine::new();
    adapters(&machine.path("adapters"), &["plum", "fig"]);
    let serve = Serve::start(
        &machine,
        &["--adapters", "adapters", "--name", "nano", "--memory-mib", "32", "--batch", "8"],
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = |model: &str| {
        let (_, answer) = runtime.block_on(serve.post("/chat/completions", chat(model, json!({}))));
        text(&answer).to_owned()
    };
    let before: Vec<String> = ["nano", "plum", "fig"].map(answer).into();
    let at_first = Held::by(&serve, &runtime);
    assert_eq!(at_first.capacity["running_bytes"], 0);
    assert!(at_first.threads > 0 && at_first.runtime > 0, "{at_first:?}");

    let address = serve.url.trim_start_matches("http://").trim_end_matches("/v1").to_owned();
    std::thread::scope(|scope| {
        for thread in 0..16u64 {
            let address = &address;
            scope.spawn(move || {
                (thread..clients).step_by(16).for_each(|client| leave(address, client));
            });
        }
    });

    let mut now = Held::by(&serve, &runtime);
    for _ in 0..600 {
        if !now.is_more_than(&at_first) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        now = Held::by(&serve, &runtime);
    }
    assert!(!now.is_more_than(&at_first), "left behind: {now:?}, where there was {at_first:?}");
    let metrics = serve.url.replace("/v1", "/metrics");
    let metrics =
        runtime.block_on(async { reqwest::get(metrics).await.unwrap().text().await.unwrap() });
    let value = |name: &str| -> u64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap().parse().unwrap()
    };
    assert_eq!((value("openlora_waiting"), value("openlora_running")), (0, 0));
    assert_eq!(value("openlora_answers_failed_total"), 0);
    let cancelled = value("openlora_answers_cancelled_total");
    assert!(cancelled > clients / 4, "only {cancelled} of {clients} left an answer behind them");
    assert_eq!(["nano", "plum", "fig"].map(answer).to_vec(), before);
    // What nobody holds can be let go.
    for name in ["plum", "fig"] {
        let unload = json!({ "lora_name": name });
        assert_eq!(runtime.block_on(serve.post("/unload_lora_adapter", unload)).0, 200);
    }
    let mut capacity = Held::by(&serve, &runtime).capacity;
    for _ in 0..100 {
        if capacity["adapter_bytes"] == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        capacity = Held::by(&serve, &runtime).capacity;
    }
    assert_eq!(capacity["adapter_bytes"], 0, "an adapter is held by nobody");
    assert_eq!(capacity["available_bytes"], capacity["memory_bytes"]);
}

/// One client, whose number says what it asks and when it leaves.
fn leave(address: &str, client: u64) {
    let mut state = client * 0x9E37_79B9 + 1;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut body = chat(
        ["nano", "plum", "fig", "plum:0.5+fig:0.5"][random(4) as usize],
        json!({ "max_tokens": 5 + random(200), "stream": random(4) > 0, "n": 1 + random(3) }),
    );
    body["messages"][0]["content"] = "A prompt. ".repeat(1 + random(12) as usize).into();
    if random(5) == 0 {
        body["response_format"] = json!({ "type": "json_object" });
    }
    let body = body.to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    let whole = request.len() as u64;
    let sent = if random(8) == 0 { random(whole) } else { whole };
    stream.write_all(&request.as_bytes()[..sent as usize]).unwrap();
    if sent == whole && random(3) > 0 {
        let mut bytes = vec![0; 1 + random(1_500) as usize];
        // It may be over sooner.
        drop(stream.read(&mut bytes));
    } else if random(2) == 0 {
        std::thread::yield_now();
    }
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
