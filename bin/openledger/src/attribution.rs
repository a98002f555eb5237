use openledger_attribution::Certificate;
use openledger_gateway::{
    Check, Explanation, Reason, ReceiptDocument, explain, training_records, verify_json,
};
use openledger_primitives::Share;
use serde_json::json;

use crate::{
    audit::read_document,
    cli::ShowArgs,
    failure::{Exit, Failure},
    local::gateway_failure,
    output::{Output, print},
    terminal::Terminal,
};

/// Characters of a record that are shown.
const EXCERPT_CHARS: usize = 88;

/// `openledger attribution show`. A receipt that does not verify is not explained.
pub fn show(args: &ShowArgs, output: Output) -> Result<(), Failure> {
    let json = read_document(&args.file)?;
    let (checks, document) = verify_json(&json, None);
    let failed = checks.iter().find(|check| !check.passed());
    let document = match (document, failed) {
        (Some(document), None) => document,
        (_, failed) => return Err(not_verified(args, failed)),
    };
    let adapters = &document.evidence.model.adapters;
    let (records, certificate) = match &args.data_dir {
        None => (None, None),
        Some(folder) => {
            let found = training_records(adapters, folder).map_err(gateway_failure)?;
            let missing = || {
                let error = format!("no model with these adapters in {}", folder.display());
                Failure::new(Exit::NotFound, error)
                    .hint("leave --data-dir out: the receipt suffices")
            };
            let (records, certificate) = found.ok_or_else(missing)?;
            (Some(records), certificate)
        }
    };
    let explanation = explain(&document, records.as_ref()).map_err(gateway_failure)?;
    if output.json {
        let evidence = &document.evidence;
        let outcome = &evidence.attribution.outcome;
        let shown = json!({
            "receipt": document.receipt.id, "model": evidence.model.name,
            "question": evidence.request.last().map(|turn| &turn.content),
            "answer": evidence.answer, "fee_wei": evidence.fee.fee,
            "explained_ppm": outcome.explained.ppm(), "explanation": explanation,
            "certificate": certificate,
        });
        print(&shown.to_string());
    } else {
        for line in lines(&document, &explanation, Terminal::detect(false)) {
            print(&line);
        }
        if args.data_dir.is_some() {
            print(&fidelity(certificate.as_ref()));
        }
    }
    Ok(())
}

/// How far the shares can be trusted, in words.
fn fidelity(certificate: Option<&Certificate>) -> String {
    let Some(certificate) = certificate else {
        return "Fidelity  not certified: nobody has compared these effects with retraining"
            .to_owned();
    };
    let score = |ppm: i32| f64::from(ppm) / 1e6;
    format!(
        "Fidelity  {:.2}, 95 % interval {:.2} to {:.2}: rank correlation with retraining on {} subsets",
        score(certificate.lds_ppm),
        score(certificate.low_ppm),
        score(certificate.high_ppm),
        certificate.subsets.len()
    )
}

fn not_verified(args: &ShowArgs, failed: Option<&Check>) -> Failure {
    let file = args.file.display();
    let step = failed.map_or("format", |check| check.step);
    let cause = failed.and_then(|check| check.failure.clone()).unwrap_or_default();
    Failure::new(Exit::Failure, format!("{file} does not verify at step \"{step}\""))
        .cause(cause)
        .hint("ask the operator for the document again; a receipt that does not verify proves nothing")
}

fn lines(document: &ReceiptDocument, shown: &Explanation, terminal: Terminal) -> Vec<String> {
    let evidence = &document.evidence;
    let (fee, explained) = (&evidence.fee, evidence.attribution.outcome.explained);
    let mut out = vec![
        format!("Receipt   {}", document.receipt.id),
        format!("Model     {}, {:.6} OPEN", evidence.model.name, fee.fee),
    ];
    if let Some(turn) = evidence.request.last() {
        out.push(format!("Question  {}", terminal.bold(&turn.content)));
    }
    out.push(format!("Answer    {}", evidence.answer));
    out.push(format!("Explained {explained} of it by fine-tuning"));
    for reason in &shown.contributors {
        out.push(String::new());
        out.extend(why(reason, terminal));
    }
    let commons = shown.commons.to_string();
    out.push(String::new());
    out.push(format!("{:<24} {commons:>8}   {:>12.6} OPEN", "commons", fee.commons));
    out.push(format!("  {}", shown.commons_reason));
    match shown.unpaid {
        0 => {}
        1 => out.push("One other contributor of the model got nothing for this answer.".to_owned()),
        n => out.push(format!("{n} other contributors of the model got nothing for this answer.")),
    }
    out
}

fn why(reason: &Reason, terminal: Terminal) -> Vec<String> {
    let share = reason.share.to_string();
    let mut out = vec![
        format!(
            "{} {share:>8}   {:>12.6} OPEN   {} {:+.2} nats, each token {:.3} times as likely",
            terminal.bold(&format!("{:<24}", reason.contributor)),
            reason.paid_wei,
            if reason.group == 1 { "effect" } else { "effect of its group" },
            reason.effect_nats,
            reason.times_likelier,
        ),
        format!("  {}", reason.sentence),
    ];
    if reason.group > 1 {
        let apportioned = Share::from_parts(reason.share.parts() - reason.measured.parts());
        out.push(format!(
            "  measured {}, apportioned in a group of {}: {}",
            reason.measured,
            reason.group,
            apportioned.unwrap_or(Share::ZERO),
        ));
    }
    for record in &reason.records {
        let mut how = Vec::new();
        if record.shown.repeated_tokens > 0 {
            how.push(format!("{} tokens repeated", record.shown.repeated_tokens));
        }
        if let Some(ppm) = record.shown.similarity_ppm {
            how.push(format!("{} % of the answer's words", ppm / 10_000));
        }
        let (number, how) = (record.shown.record, how.join(", "));
        out.push(format!("  record {number}, {how}: {}", excerpt(&record.text)));
    }
    out
}

/// One line of a record's text.
fn excerpt(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(EXCERPT_CHARS) {
        None => line,
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}
