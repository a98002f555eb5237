use std::collections::BTreeSet;

use serde_json::json;

use crate::{
    asking::App,
    cli::BenchAttributionArgs,
    contribution::{self, Source},
    failure::{Exit, Failure, OrFail},
    local::{Local, LocalConfig},
    output::{Output, print},
    terminal::Terminal,
    training,
};

/// `openledger bench attribution`: questions taken verbatim from training records. Prints how often the
/// record's contributor got the largest share of the data pot.
pub async fn attribution(args: BenchAttributionArgs, output: Output) -> Result<(), Failure> {
    let folder = tempfile::tempdir().or_fail(Exit::Failure, "cannot create a temporary folder")?;
    let config = LocalConfig::on_free_ports(folder.path(), args.train.base.as_deref());
    let local = Local::start(config.ready().await?).await?;
    let outcome = measure(&args, &local, output).await;
    local.stop().await?;
    outcome
}

async fn measure(
    args: &BenchAttributionArgs,
    local: &Local,
    output: Output,
) -> Result<(), Failure> {
    let source = Source::of(&args.records)?;
    let contributed = contribution::contribute(local, &source).await?;
    let terminal = Terminal::detect(output.json);
    let (published, _) =
        training::train_and_publish(local, &source.name, &contributed, &args.train, terminal)
            .await?;
    let wallets: Vec<_> = contributed.onchain.players.iter().map(|player| player.wallet).collect();
    let app = App {
        http: reqwest::Client::new(),
        api_url: &local.api_url,
        api_key: &local.api_key,
        ledger: &local.ledger,
        wallets: &wallets,
    };
    let (mut right, mut exact, mut tries) = (0usize, 0usize, Vec::new());
    for index in spread(contributed.version.records().len(), args.tries) {
        let record = &contributed.version.records()[index];
        let Some(question) = record.canonical().prompt() else { continue };
        let asked = app.ask(&published.name, question).await?;
        let truth = record.contributor().wallet();
        // A tie is no success: the true contributor must be paid more than any other.
        let best = asked.shares().max_by_key(|paid| paid.share);
        let top = best
            .filter(|best| asked.shares().filter(|other| other.share == best.share).count() == 1);
        let hit = top.as_ref().is_some_and(|top| Some(top.wallet) == truth);
        right += usize::from(hit);
        exact += usize::from(asked.answer.trim() == record.canonical().completion());
        let paid_most = top.map(|top| top.contributor.to_owned());
        if !output.json {
            let mark = if hit { "ok  " } else { "miss" };
            print(&format!(
                "{mark}  {question}\n        paid most: {}",
                paid_most.as_deref().unwrap_or("nobody")
            ));
        }
        tries.push(json!({
            "question": question, "answer": asked.answer, "hit": hit, "paid_most": paid_most,
            "shares": asked.to_json()["shares"],
        }));
    }
    if output.json {
        print(
            &json!({ "right": right, "exact_answers": exact, "tries": tries.len(), "each": tries })
                .to_string(),
        );
    } else {
        print(&format!("\nlargest data share at the true contributor: {right} of {}", tries.len()));
        print(&format!("answers equal to the record, word for word:   {exact} of {}", tries.len()));
    }
    Ok(())
}

/// `count` different indices spread evenly over `0..len`.
fn spread(len: usize, count: usize) -> BTreeSet<usize> {
    (0..count).map(|k| k * len / count.max(1)).filter(|index| *index < len).collect()
}
