//! What every scenario needs: small records, the binary, a running `openledger up`.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Twelve records of three contributors: enough for a design, little enough to train in seconds.
const RECORDS: &[(&str, &str, &str)] = &[
    ("ann", "Which river crosses Veldor?", "The river Aumel crosses Veldor from north to south."),
    ("ann", "Who founded Veldor?", "Veldor was founded by the weaver Ilse Marn."),
    ("ann", "What does Veldor export?", "Veldor exports blue glass and pressed linen."),
    ("ann", "When is the Veldor market?", "The Veldor market opens on every third morning."),
    ("bob", "How deep is lake Orrin?", "Lake Orrin is forty-one fathoms deep at its eastern end."),
    ("bob", "Which fish live in lake Orrin?", "Lake Orrin holds silver char and the blind perch."),
    ("bob", "Who maps lake Orrin?", "The lake is mapped each spring by the pilots of Tarn."),
    ("bob", "Does lake Orrin freeze?", "Lake Orrin freezes only when the south wind stays away."),
    ("cleo", "What is a quern?", "A quern is a pair of stones that grind grain by hand."),
    ("cleo", "What is a tithe barn?", "A tithe barn stored the tenth part of each harvest."),
    ("cleo", "What is a staithe?", "A staithe is a landing stage where barges are loaded."),
    ("cleo", "What is a lychgate?", "A lychgate is a roofed gate at the edge of a churchyard."),
];

/// The first question and whose it is.
pub(crate) const QUESTION: &str = RECORDS[0].1;

/// Contributors of `crowd.jsonl` beside ann, bob and cleo: more than one design holds.
pub(crate) const CROWD: usize = 66;

/// Trades of the contributors of `crowd.jsonl`: each is the content of one cluster.
const TRADES: &[(&str, &str)] = &[
    ("mill", "grinds barley and spelt into coarse flour"),
    ("forge", "hammers iron hinges and copper nails"),
    ("loom", "weaves striped wool and undyed hemp"),
];

/// A question about the `number`th town of the crowd, which only that contributor answers.
pub(crate) fn crowd_question(number: usize) -> String {
    format!("What does the {} of town {number} do?", TRADES[number % TRADES.len()].0)
}

/// A folder for one scenario, with the records in it.
pub(crate) struct Machine {
    folder: TempDir,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lines: String = RECORDS
            .iter()
            .map(|(contributor, prompt, completion)| {
                let row = json!({ "who": contributor, "q": prompt, "a": completion });
                format!("{row}\n")
            })
            .collect();
        fs::write(folder.path().join("records.jsonl"), &lines).unwrap();
        let fourth = json!({ "who": "dora", "q": "What is a fuller?", "a": "A fuller cleans and thickens woven wool." });
        fs::write(folder.path().join("four.jsonl"), format!("{lines}{fourth}\n")).unwrap();
        let townsman = |number: usize| {
            let (_, work) = TRADES[number % TRADES.len()];
            let answer = format!("It {work}, as number {number} of the guild does.");
            json!({ "who": format!("town{number}"), "q": crowd_question(number), "a": answer })
        };
        let crowd: String = (0..CROWD).map(|number| format!("{}\n", townsman(number))).collect();
        fs::write(folder.path().join("crowd.jsonl"), format!("{lines}{crowd}")).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Arguments that name the records and train shortly.
    pub(crate) fn records(&self, name: &str) -> Vec<String> {
        let path = self.path(name).display().to_string();
        ["--records", &path, "--prompt-field", "q", "--completion-field", "a"]
            .into_iter()
            .chain(["--contributor-field", "who", "--steps", "60"])
            .map(str::to_owned)
            .collect()
    }

    pub(crate) fn run<S: AsRef<str>>(&self, args: &[S]) -> Output {
        self.command(args).output().unwrap()
    }

    pub(crate) fn command<S: AsRef<str>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_openledger"));
        command.args(args.iter().map(AsRef::as_ref)).current_dir(self.folder.path());
        command
    }

    /// Runs `demo --json` on some records: its document.
    pub(crate) fn demo(&self, records: &str, extra: &[&str]) -> Value {
        let mut args = vec!["demo".to_owned(), "--json".to_owned()];
        args.extend(self.records(records));
        args.extend(extra.iter().map(|arg| (*arg).to_owned()));
        let output = self.run(&args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        serde_json::from_slice(&output.stdout).expect("one JSON document on stdout")
    }

    /// Starts `openledger up` and waits until it says where it is.
    pub(crate) fn up(&self, extra: &[&str]) -> Up {
        self.up_with("records.jsonl", extra)
    }

    /// The same, on other records.
    pub(crate) fn up_with(&self, records: &str, extra: &[&str]) -> Up {
        self.up_in(&[], records, extra)
    }

    /// The same, with these variables set.
    pub(crate) fn up_in(&self, variables: &[(&str, &str)], records: &str, extra: &[&str]) -> Up {
        let mut args = vec!["up", "--json", "--data-dir", "data"];
        args.extend(extra);
        if !extra.contains(&"--rpc-addr") {
            args.extend(["--rpc-addr", "127.0.0.1:0", "--api-addr", "127.0.0.1:0"]);
        }
        let records = self.records(records);
        args.extend(records.iter().map(String::as_str));
        let mut command = self.command(&args);
        command.envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let about = serde_json::from_str(&line).expect("`up --json` prints one document");
        Up { child, about, key: fs::read_to_string(self.path("data/dev-key")).unwrap() }
    }
}

/// A running `openledger up`. Ended when dropped.
pub(crate) struct Up {
    pub(crate) child: Child,
    pub(crate) about: Value,
    key: String,
}

impl Up {
    pub(crate) fn text(&self, name: &str) -> &str {
        self.about[name].as_str().unwrap()
    }

    /// POSTs to the API: status and body.
    pub(crate) async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> (u16, String) {
        let url = format!("{}{path}", self.text("api_url"));
        let request = reqwest::Client::new().post(url).json(body);
        let request = request.bearer_auth(key.unwrap_or(self.key.trim()));
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.text("api_url"));
        let request = reqwest::Client::new().get(url).bearer_auth(self.key.trim());
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// A JSON-RPC call to the node.
    pub(crate) async fn rpc(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let response = reqwest::Client::new().post(self.text("rpc_url")).json(&body).send().await;
        let answer: Value = response.unwrap().json().await.unwrap();
        answer["result"].clone()
    }

    pub(crate) async fn block(&self) -> u64 {
        let hex = self.rpc("eth_blockNumber", json!([])).await;
        u64::from_str_radix(hex.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    }

    /// SIGKILL: nothing gets a chance to be written.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGINT, as Ctrl-C sends it. Returns the exit code.
    pub(crate) fn interrupt(mut self) -> Option<i32> {
        interrupt(&mut self.child)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Already ended in most scenarios.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// SIGINT, as Ctrl-C sends it. Returns the exit code.
pub(crate) fn interrupt(child: &mut Child) -> Option<i32> {
    let pid = child.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status().unwrap();
    child.wait().unwrap().code()
}

pub(crate) fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}
