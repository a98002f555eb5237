use std::{
    fs,
    path::{Path, PathBuf},
};

use openledger_primitives::OpenAmount;
use serde_json::json;

use crate::{
    asking::{App, Asked},
    cli::DemoArgs,
    contribution::{self, Source},
    failure::{Exit, Failure, OrFail},
    local::{Local, LocalConfig},
    output::{Output, print, tell},
    terminal::Terminal,
    training::{self, Published},
};

/// Asked where the handbook is the Datanet and nothing else was asked.
const HANDBOOK_QUESTION: &str = "What does the commons pool hold?";

/// `openledger demo`.
pub async fn run(args: DemoArgs, output: Output) -> Result<(), Failure> {
    let screen = Screen { terminal: Terminal::detect(output.json), json: output.json };
    screen.line("OpenLedger demo: everything runs on this machine, nothing leaves it\n");
    let folder = Folder::choose(args.data_dir.as_deref())?;
    let config = LocalConfig::on_free_ports(folder.path(), args.train.base.as_deref());
    let local = Local::start(config.ready().await?).await?;
    let outcome = tokio::select! {
        outcome = life_of_a_payment(&args, &local, &screen, folder.path()) => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    };
    local.stop().await?;
    let (asked, published) = outcome?;
    fs::write(&args.receipt, &asked[0].file)
        .or_fail(Exit::Failure, format!("cannot write {}", args.receipt.display()))?;
    if output.json {
        print(&document(&asked, &published).to_string());
    }
    match asked.iter().find(|asked| !asked.verified()) {
        None => Ok(()),
        Some(asked) => Err(Failure::new(Exit::Failure, "a receipt does not verify")
            .cause(format!("the answer to {:?}", asked.question))),
    }
}

async fn life_of_a_payment(
    args: &DemoArgs,
    local: &Local,
    screen: &Screen,
    data_dir: &Path,
) -> Result<(Vec<Asked>, Published), Failure> {
    let block = local.node.head().number;
    screen.step(
        1,
        "Chain",
        &format!("devnet {}, block {block}, {}", local.node.chain_id(), local.node.rpc_url()),
    );
    if screen.json {
        tell(&format!("data in {}", data_dir.display()));
    }

    let source = Source::of(&args.records)?;
    let contributed = contribution::contribute(local, &source).await?;
    screen.step(
        2,
        "Contribute",
        &format!(
            "{} contributors, {} records → Datanet \"{}\" v{}, root {}, tx {}",
            contributed.onchain.players.len(),
            contributed.version.records().len(),
            source.name,
            contributed.onchain.datanet.version,
            short(contributed.onchain.datanet.root.as_slice()),
            short(contributed.onchain.included.tx_hash.as_slice()),
        ),
    );
    contributed.warnings.iter().for_each(|warning| tell(warning));

    let (published, registered) = training::train_and_publish(
        local,
        &source.name,
        &contributed,
        &args.train,
        screen.terminal,
    )
    .await?;
    for line in published.summary() {
        screen.line(&line);
    }
    screen.step(
        4,
        "Publish",
        &format!(
            "model \"{}\" #{registered}, {} OPEN per 1,000 tokens in, {} out",
            published.name, published.price.input, published.price.output
        ),
    );

    let wallets: Vec<_> = contributed.onchain.players.iter().map(|player| player.wallet).collect();
    let app = App {
        http: reqwest::Client::new(),
        api_url: &local.api_url,
        api_key: &local.api_key,
        ledger: &local.ledger,
        wallets: &wallets,
    };
    let mut answers = Vec::new();
    for question in questions(args, &contributed) {
        let asked = app.ask(&published.name, &question).await?;
        screen.answer(&asked);
        answers.push(asked);
    }
    let verified = answers.iter().all(Asked::verified);
    let passed = answers[0].checks.iter().filter(|check| check.passed()).count();
    let (word, of) = (if verified { "verified" } else { "NOT verified" }, answers[0].checks.len());
    screen.line(&format!("Receipt {word}, {passed} of {of} checks: {}", args.receipt.display()));
    screen.line("Next: openledger up   (keeps running; API on http://127.0.0.1:8080)");
    Ok((answers, published))
}

fn questions(args: &DemoArgs, contributed: &contribution::Contributed) -> Vec<String> {
    if !args.ask.is_empty() {
        return args.ask.clone();
    }
    if args.records.records.is_none() {
        return vec![HANDBOOK_QUESTION.to_owned()];
    }
    let first = contributed.version.records().iter().find_map(|record| record.canonical().prompt());
    vec![first.unwrap_or("Hello").to_owned()]
}

/// One answer as an object; several under `answers`.
fn document(asked: &[Asked], published: &Published) -> serde_json::Value {
    match asked {
        [one] => one.to_json(),
        several => json!({
            "model": published.name,
            "answers": several.iter().map(Asked::to_json).collect::<Vec<_>>(),
        }),
    }
}

/// The folder of a demo: temporary and removed at the end, unless one was named.
enum Folder {
    Named(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Folder {
    fn choose(named: Option<&Path>) -> Result<Self, Failure> {
        match named {
            Some(path) => Ok(Self::Named(path.to_owned())),
            None => tempfile::Builder::new()
                .prefix("openledger-demo-")
                .tempdir()
                .map(Self::Temporary)
                .or_fail(Exit::Failure, "cannot create a temporary folder"),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Named(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// What a person sees.
struct Screen {
    terminal: Terminal,
    json: bool,
}

impl Screen {
    fn line(&self, text: &str) {
        if !self.json {
            print(text);
        }
    }

    fn step(&self, number: u8, name: &str, text: &str) {
        self.line(&format!("{number}/6 {name:<12} {text}"));
    }

    fn answer(&self, asked: &Asked) {
        self.step(5, "Ask", &self.terminal.bold(&asked.question));
        self.line(&format!("    {:<12} {}", "Answer", highlighted(asked, self.terminal)));
        let fee = &asked.document.evidence.fee;
        if let Some(settlement) = &asked.document.settlement {
            let statement = &settlement.statement;
            let tx = short(statement.txHash.as_slice());
            self.step(
                6,
                "Settle",
                &format!("fee {:.6} OPEN, block {}, tx {tx}", fee.fee, statement.blockNumber),
            );
        }
        self.line(&format!(
            "\n{:<24} {:>8}   {:>12}   wallet before → after",
            "who", "share", "paid (OPEN)"
        ));
        let mut shares: Vec<_> = asked.shares().enumerate().collect();
        shares.sort_by_key(|(_, paid)| std::cmp::Reverse(paid.share));
        for (index, paid) in shares {
            let name = self.terminal.name(&format!("{:<24}", paid.contributor), index);
            self.line(&format!(
                "{name} {:>8}   {:>12.6}   {:.6} → {:.6}",
                paid.share.to_string(),
                paid.paid,
                paid.before,
                paid.after
            ));
        }
        let commons = asked.document.evidence.attribution.outcome.shares.commons;
        self.line(&format!("{:<24} {:>8}   {:>12.6}", "commons", commons.to_string(), fee.commons));
        let rest: [(&str, OpenAmount); 3] =
            [("model owner", fee.model), ("compute", fee.compute), ("platform", fee.platform)];
        for (who, amount) in rest {
            self.line(&format!("{who:<24} {:>8}   {amount:>12.6}", ""));
        }
        self.line("");
    }
}

/// The answer with each span in its contributor's colour.
fn highlighted(asked: &Asked, terminal: Terminal) -> String {
    let mut shown = String::new();
    let mut rest = asked.answer.as_str();
    for span in &asked.spans {
        // Spans follow one another in the answer; one that is not found (a stop text cut it) is left.
        let (Some(at), Some(player)) = (rest.find(&span.text), span.player) else { continue };
        shown += &rest[..at];
        shown += &terminal.marked(&span.text, player);
        rest = &rest[at + span.text.len()..];
    }
    shown + rest
}

fn short(hash: &[u8]) -> String {
    let hex: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("0x{hex}…")
}
