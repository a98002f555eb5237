//! `openledger bench serve`: how many answers a server gives, and what it does when asked for more.
//!
//! ```text
//! closed loop: N clients, each asks again when answered ─▶ capacity
//! open loop:   Poisson arrivals at 1, 2, 5, 10 × capacity ─▶ served, refused, how fast
//! ```

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use openledger_model::{Adapter, Decoder, LoraLayout, Site};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use crate::{
    cli::BenchServeArgs,
    failure::{Exit, Failure, OrFail},
    from_hub,
    output::{Output, print, tell},
};

/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(120);
/// A refusal is at once if it takes less.
const AT_ONCE: Duration = Duration::from_millis(100);

/// What became of one request.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// Answered: until its first text, in all, tokens.
    Served { first: Duration, whole: Duration, tokens: u64 },
    /// 429, after this time.
    Refused(Duration),
    /// Anything else.
    Failed,
}

/// A server that is asked.
#[derive(Debug, Clone)]
struct Target {
    http: reqwest::Client,
    url: String,
    models: Vec<String>,
    tokens: u32,
}

/// One line of the table.
struct Phase {
    name: String,
    /// Requests a second that were sent; as many as were answered where the loop is closed.
    offered: Option<f64>,
    seconds: f64,
    outcomes: Vec<Outcome>,
}

/// Runs the benchmark. The server is a process of its own, ended with the benchmark.
pub async fn run(args: BenchServeArgs, output: Output) -> Result<(), Failure> {
    let folder = tempfile::tempdir().or_fail(Exit::Failure, "cannot create a temporary folder")?;
    let base = from_hub::base_or_nano(args.base.as_deref(), folder.path()).await?;
    let adapters = folder.path().join("adapters");
    let names = write_adapters(&base, &adapters, &args)?;
    let server = Server::start(&base, &adapters, &args)?;
    let target = Target {
        http: reqwest::Client::new(),
        url: format!("{}/chat/completions", server.url),
        models: if names.is_empty() { vec!["base".into()] } else { names },
        tokens: args.tokens,
    };
    tell("warming up");
    target.closed_loop(args.clients, Duration::from_secs(1)).await;
    let closed = target.closed_loop(args.clients, Duration::from_secs(args.seconds)).await;
    let capacity = closed.served_per_second();
    if capacity <= 0.0 {
        return Err(Failure::new(Exit::Failure, "the server answered nothing"));
    }
    let mut phases = vec![closed];
    for factor in &args.factors {
        tell(&format!("offering {factor} times the capacity for {} s", args.seconds));
        phases.push(target.open_loop(capacity * factor, *factor, args.seconds).await);
    }
    let peak = phases.iter().map(Phase::served_per_second).fold(0.0, f64::max);
    if output.json {
        let phases: Vec<Value> = phases.iter().map(|phase| phase.to_json(peak)).collect();
        print(&json!({ "models": target.models.len(), "phases": phases }).to_string());
    } else {
        print(&format!(
            "{} models, answers of {} tokens, {} s a phase; goodput is a part of the peak\n",
            target.models.len(),
            args.tokens,
            args.seconds
        ));
        print(
            "| load | offered /s | served /s | goodput | tok/s | first text p50, p99 ms | whole p50, p99 ms | refused | refusal p50, p99 ms | late refusals | failed |",
        );
        print("|---|---|---|---|---|---|---|---|---|---|---|");
        phases.iter().for_each(|phase| print(&phase.row(peak)));
    }
    Ok(())
}

/// PEFT folders of adapters that are all different.
fn write_adapters(
    base: &Path,
    folder: &Path,
    args: &BenchServeArgs,
) -> Result<Vec<String>, Failure> {
    fs::create_dir_all(folder).or_fail(Exit::Failure, "cannot create the adapter folder")?;
    let cannot = || format!("cannot load the base model in {}", base.display());
    let decoder = Decoder::load(base).or_fail(Exit::Failure, cannot())?;
    let layout = LoraLayout::new(decoder.config(), args.rank, args.rank as f32, &Site::ALL);
    (0..args.adapters)
        .map(|number| {
            let mut random = ChaCha8Rng::seed_from_u64(number as u64);
            let mut values = layout.random(number as u64);
            // B is zero in a fresh adapter, and zero changes nothing.
            for x in values.iter_mut().filter(|x| **x == 0.0) {
                *x = uniform(&mut random) as f32 * 0.02 - 0.01;
            }
            let name = format!("adapter-{number}");
            Adapter::new(layout.clone(), &values)
                .and_then(|adapter| adapter.save(&folder.join(&name), "base"))
                .or_fail(Exit::Failure, "cannot write an adapter")?;
            Ok(name)
        })
        .collect()
}

/// `openledger serve` in a process of its own.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(base: &Path, adapters: &Path, args: &BenchServeArgs) -> Result<Self, Failure> {
        let program: PathBuf =
            std::env::current_exe().or_fail(Exit::Failure, "cannot find this program")?;
        let mut child = Command::new(program)
            .args(["serve", "--json", "--name", "base", "--api-addr", "127.0.0.1:0", "--base"])
            .arg(base)
            .arg("--adapters")
            .arg(adapters)
            .args(["--batch", &args.batch.to_string(), "--queue", &args.queue.to_string()])
            .args(["--memory-mib", &args.memory_mib.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .or_fail(Exit::Failure, "cannot start the server")?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            // Nothing read is nothing said, and fails below.
            drop(BufReader::new(out).read_line(&mut line));
        }
        let about: Value = serde_json::from_str(&line).unwrap_or_default();
        let url = about["api_url"].as_str().unwrap_or_default().to_owned();
        let server = Self { child, url };
        if server.url.is_empty() {
            return Err(Failure::new(Exit::Failure, "the server did not start"));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Target {
    /// So many clients, each asking again as soon as it is answered.
    async fn closed_loop(&self, clients: usize, time: Duration) -> Phase {
        let (start, mut all) = (Instant::now(), JoinSet::new());
        for client in 0..clients {
            let target = self.clone();
            all.spawn(async move {
                let mut outcomes = Vec::new();
                let mut number = client;
                while start.elapsed() < time {
                    outcomes.push(target.ask(number).await);
                    number += clients;
                }
                outcomes
            });
        }
        let outcomes = all.join_all().await.into_iter().flatten().collect();
        let (seconds, name) = (start.elapsed().as_secs_f64(), format!("closed, {clients} clients"));
        Phase { name, offered: None, seconds, outcomes }
    }

    /// So many requests a second on average, whether answered or not.
    async fn open_loop(&self, rate: f64, factor: f64, seconds: u64) -> Phase {
        let mut random = ChaCha8Rng::seed_from_u64(factor.to_bits());
        let (start, mut all, mut at) = (Instant::now(), JoinSet::new(), 0.0);
        for number in 0.. {
            at -= (1.0 - uniform(&mut random)).ln() / rate;
            if at >= seconds as f64 {
                break;
            }
            sleep_until((start + Duration::from_secs_f64(at)).into()).await;
            let target = self.clone();
            all.spawn(async move { target.ask(number).await });
        }
        let outcomes = all.join_all().await;
        let seconds = start.elapsed().as_secs_f64();
        Phase { name: format!("open, {factor} ×"), offered: Some(rate), seconds, outcomes }
    }

    async fn ask(&self, number: usize) -> Outcome {
        let asked = timeout(ANSWER_MAX, self.try_ask(number)).await;
        asked.ok().and_then(Result::ok).unwrap_or(Outcome::Failed)
    }

    async fn try_ask(&self, number: usize) -> Result<Outcome, reqwest::Error> {
        let body = json!({
            "model": self.models[number % self.models.len()],
            "messages": [{ "role": "user", "content": format!("Tell me about number {number}.") }],
            "max_tokens": self.tokens, "stream": true, "temperature": 1.0, "seed": number,
            // The end token is never drawn, so that all answers have one length.
            "logit_bias": { "0": -100.0 }, "stream_options": { "include_usage": true },
        });
        let start = Instant::now();
        let mut response = self.http.post(&self.url).json(&body).send().await?;
        match response.status().as_u16() {
            200 => {}
            429 => return Ok(Outcome::Refused(start.elapsed())),
            _ => return Ok(Outcome::Failed),
        }
        let (mut first, mut text) = (None, String::new());
        while let Some(chunk) = response.chunk().await? {
            text.push_str(&String::from_utf8_lossy(&chunk));
            // The first event says only who speaks.
            if first.is_none() && text.matches("data: ").count() > 1 {
                first = Some(start.elapsed());
            }
        }
        let whole = start.elapsed();
        let usage = text.lines().filter_map(|line| line.strip_prefix("data: ")).rev().nth(1);
        let usage: Value = usage.and_then(|u| serde_json::from_str(u).ok()).unwrap_or_default();
        Ok(match usage["usage"]["completion_tokens"].as_u64() {
            Some(tokens) => Outcome::Served { first: first.unwrap_or(whole), whole, tokens },
            None => Outcome::Failed,
        })
    }
}

impl Phase {
    fn served(&self) -> impl Iterator<Item = (Duration, Duration, u64)> {
        self.outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Served { first, whole, tokens } => Some((*first, *whole, *tokens)),
            _ => None,
        })
    }

    fn refusals(&self) -> Vec<Duration> {
        let refused = |outcome: &Outcome| match outcome {
            Outcome::Refused(after) => Some(*after),
            _ => None,
        };
        self.outcomes.iter().filter_map(refused).collect()
    }

    fn served_per_second(&self) -> f64 {
        self.served().count() as f64 / self.seconds
    }

    fn tokens_per_second(&self) -> f64 {
        self.served().map(|(_, _, tokens)| tokens).sum::<u64>() as f64 / self.seconds
    }

    fn failed(&self) -> usize {
        self.outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Failed)).count()
    }

    fn row(&self, peak: f64) -> String {
        let (first, whole) = (ms(self.served().map(|s| s.0)), ms(self.served().map(|s| s.1)));
        let refusals = self.refusals();
        let late = refusals.iter().filter(|after| **after > AT_ONCE).count();
        let refusal = ms(refusals.iter().copied());
        let offered = self.offered.map_or("–".to_owned(), |rate| format!("{rate:.1}"));
        format!(
            "| {} | {offered} | {:.1} | {:.0} % | {:.0} | {:.0}, {:.0} | {:.0}, {:.0} | {} | {:.1}, {:.1} | {late} | {} |",
            self.name,
            self.served_per_second(),
            100.0 * self.served_per_second() / peak,
            self.tokens_per_second(),
            first.0,
            first.1,
            whole.0,
            whole.1,
            refusals.len(),
            refusal.0,
            refusal.1,
            self.failed(),
        )
    }

    fn to_json(&self, peak: f64) -> Value {
        let (first, whole) = (ms(self.served().map(|s| s.0)), ms(self.served().map(|s| s.1)));
        let refusals = self.refusals();
        let refusal = ms(refusals.iter().copied());
        json!({
            "load": self.name, "offered_per_second": self.offered,
            "served_per_second": self.served_per_second(),
            "goodput": self.served_per_second() / peak,
            "tokens_per_second": self.tokens_per_second(),
            "first_text_ms": { "p50": first.0, "p99": first.1 },
            "whole_ms": { "p50": whole.0, "p99": whole.1 },
            "refused": refusals.len(), "refusal_ms": { "p50": refusal.0, "p99": refusal.1 },
            "late_refusals": refusals.iter().filter(|after| **after > AT_ONCE).count(),
            "failed": self.failed(),
        })
    }
}

/// Median and 99th percentile in milliseconds; zeros of nothing.
fn ms(times: impl Iterator<Item = Duration>) -> (f64, f64) {
    let mut times: Vec<f64> = times.map(|time| time.as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    let at = |part: f64| {
        let place = (times.len() as f64 * part) as usize;
        times.get(place.min(times.len().saturating_sub(1))).copied().unwrap_or(0.0)
    };
    (at(0.5), at(0.99))
}

/// Uniform in [0, 1).
fn uniform(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}
