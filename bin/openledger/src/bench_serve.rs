//! `openledger bench serve`: how many answers a server gives, and what it does when asked for more.
//!
//! ```text
//! each round   closed loop: N clients, each asks again when answered ─▶ capacity
//!              open loop:   Poisson arrivals at 1, 2, 5, 10 × capacity ─▶ served, refused, how fast
//! ```
//!
//! **Invariant:** a load is compared with the closed loop and the peak of its own round only: minutes apart a
//! machine may be a third faster or slower, and that is no property of a server.

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

/// One load in one round.
#[derive(Clone)]
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
    let mut rounds = Vec::new();
    for round in 1..=args.rounds.max(1) {
        rounds.push(target.round(&args, round).await?);
    }
    let loads = Load::of(&rounds);
    if output.json {
        let phases: Vec<Value> = loads.iter().map(Load::to_json).collect();
        let about = json!({
            "models": target.models.len(), "rounds": rounds.len(), "phases": phases,
        });
        print(&about.to_string());
    } else {
        print(&format!(
            "{} models, answers of {} tokens, {} rounds of {} s a load; rates and goodput are medians over the rounds, \
             goodput is a part of the closed loop's, and of the peak, of the same round; latencies are over all rounds\n",
            target.models.len(),
            args.tokens,
            rounds.len(),
            args.seconds
        ));
        print(
            "| load | offered /s | served /s | goodput of closed, of peak | tok/s | tokens an answer | first text p50, p99 ms | whole p50, p99 ms | refused | refusal p50, p99 ms | late refusals | failed |",
        );
        print("|---|---|---|---|---|---|---|---|---|---|---|---|");
        loads.iter().for_each(|load| print(&load.row()));
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
    /// The closed loop, then every factor of what it served.
    async fn round(&self, args: &BenchServeArgs, round: usize) -> Result<Vec<Phase>, Failure> {
        let of = args.rounds.max(1);
        tell(&format!("round {round} of {of}: {} clients for {} s", args.clients, args.seconds));
        let closed = self.closed_loop(args.clients, Duration::from_secs(args.seconds)).await;
        let capacity = closed.served_per_second();
        if capacity <= 0.0 {
            return Err(Failure::new(Exit::Failure, "the server answered nothing"));
        }
        let mut phases = vec![closed];
        for factor in &args.factors {
            tell(&format!("round {round} of {of}: {factor} times that for {} s", args.seconds));
            phases.push(self.open_loop(capacity * factor, *factor, args.seconds).await);
        }
        Ok(phases)
    }

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
}

/// One line of the table: a load in all rounds.
struct Load {
    name: String,
    offered: Option<f64>,
    served_per_second: f64,
    tokens_per_second: f64,
    /// Parts of what the closed loop, and the best load, of the same round served.
    of_closed: f64,
    of_peak: f64,
    /// All rounds as one.
    all: Phase,
}

impl Load {
    /// The loads of `rounds`, each of which begins with the closed loop and has them in the same order.
    fn of(rounds: &[Vec<Phase>]) -> Vec<Self> {
        let loads = rounds.first().map_or(0, Vec::len);
        (0..loads).map(|load| Self::new(rounds, load)).collect()
    }

    fn new(rounds: &[Vec<Phase>], load: usize) -> Self {
        let over = |value: &dyn Fn(&[Phase], &Phase) -> f64| {
            median(rounds.iter().map(|round| value(round, &round[load])).collect())
        };
        let peak = |round: &[Phase]| {
            round.iter().map(Phase::served_per_second).fold(f64::MIN_POSITIVE, f64::max)
        };
        let offered = rounds.iter().map(|round| round[load].offered).collect::<Option<Vec<_>>>();
        let mut all = rounds[0][load].clone();
        for round in &rounds[1..] {
            all.seconds += round[load].seconds;
            all.outcomes.extend_from_slice(&round[load].outcomes);
        }
        Self {
            name: all.name.clone(),
            offered: offered.map(median),
            served_per_second: over(&|_, phase| phase.served_per_second()),
            tokens_per_second: over(&|_, phase| phase.tokens_per_second()),
            of_closed: over(&|round, phase| {
                phase.served_per_second() / round[0].served_per_second().max(f64::MIN_POSITIVE)
            }),
            of_peak: over(&|round, phase| phase.served_per_second() / peak(round)),
            all,
        }
    }

    fn tokens_an_answer(&self) -> f64 {
        let (answers, tokens) = (self.all.served().count(), self.all.served().map(|s| s.2));
        tokens.sum::<u64>() as f64 / answers.max(1) as f64
    }

    fn row(&self) -> String {
        let (first, whole) =
            (ms(self.all.served().map(|s| s.0)), ms(self.all.served().map(|s| s.1)));
        let refusals = self.all.refusals();
        let late = refusals.iter().filter(|after| **after > AT_ONCE).count();
        let refusal = ms(refusals.iter().copied());
        let offered = self.offered.map_or("–".to_owned(), |rate| format!("{rate:.1}"));
        format!(
            "| {} | {offered} | {:.1} | {:.0}, {:.0} % | {:.0} | {:.1} | {:.0}, {:.0} | {:.0}, {:.0} | {} | {:.1}, {:.1} | {late} | {} |",
            self.name,
            self.served_per_second,
            100.0 * self.of_closed,
            100.0 * self.of_peak,
            self.tokens_per_second,
            self.tokens_an_answer(),
            first.0,
            first.1,
            whole.0,
            whole.1,
            refusals.len(),
            refusal.0,
            refusal.1,
            self.all.failed(),
        )
    }

    fn to_json(&self) -> Value {
        let (first, whole) =
            (ms(self.all.served().map(|s| s.0)), ms(self.all.served().map(|s| s.1)));
        let refusals = self.all.refusals();
        let refusal = ms(refusals.iter().copied());
        json!({
            "load": self.name, "offered_per_second": self.offered,
            "served_per_second": self.served_per_second,
            "goodput": self.of_peak, "goodput_of_closed": self.of_closed,
            "tokens_per_second": self.tokens_per_second,
            "tokens_an_answer": self.tokens_an_answer(),
            "first_text_ms": { "p50": first.0, "p99": first.1 },
            "whole_ms": { "p50": whole.0, "p99": whole.1 },
            "refused": refusals.len(), "refusal_ms": { "p50": refusal.0, "p99": refusal.1 },
            "late_refusals": refusals.iter().filter(|after| **after > AT_ONCE).count(),
            "failed": self.all.failed(),
        })
    }
}

/// The middle one, or the mean of the two in the middle; zero of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len() / 2, values.len() % 2) {
        (0, 0) => 0.0,
        (middle, 0) => (values[middle - 1] + values[middle]) / 2.0,
        (middle, _) => values[middle],
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `answers` in a second.
    fn phase(answers: usize) -> Phase {
        let wait = Duration::from_millis(answers as u64);
        let outcomes = vec![Outcome::Served { first: wait, whole: wait, tokens: 4 }; answers];
        Phase { name: "a load".to_owned(), offered: None, seconds: 1.0, outcomes }
    }

    #[test]
    fn a_load_is_compared_with_its_own_round() {
        // The machine is twice as fast in the second round, and half as fast in the third.
        let rounds: Vec<Vec<Phase>> =
            [[100, 110, 80], [200, 180, 160], [50, 60, 40]].map(|r| r.map(phase).into()).into();
        let loads = Load::of(&rounds);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        let [closed, once, much] = &loads[..] else { panic!("{} loads", loads.len()) };
        close(closed.of_closed, 1.0);
        close(once.of_closed, 1.1);
        close(much.of_closed, 0.8);
        close(once.of_peak, 1.0);
        close(much.of_peak, 80.0 / 110.0);
        close(much.served_per_second, 80.0);
        close(much.tokens_per_second, 320.0);
        close(much.tokens_an_answer(), 4.0);
        assert_eq!(much.all.served().count(), 280);
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        assert_eq!(median(vec![4.0, 1.0, 2.0, 8.0]), 3.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![]), 0.0);
    }
}
