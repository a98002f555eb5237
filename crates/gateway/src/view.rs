use openledger_model::Tokenizer;
use openledger_primitives::{Address, OpenAmount};
use serde_json::{Value, json};

use crate::{Error, document::ReceiptDocument, explain};

/// The `attribution` key of an answer: what a person or an application wants to show.
///
/// Everything in it follows from the receipt document; nothing in it decides anything.
pub(crate) fn attribution_view(
    document: &ReceiptDocument,
    tokenizer: &Tokenizer,
    fidelity: &Value,
) -> Result<Value, Error> {
    let evidence = &document.evidence;
    let outcome = &evidence.attribution.outcome;
    let mut spans = Vec::new();
    for span in &outcome.credit.spans {
        let (start, end) = (span.start as usize, (span.start + span.length) as usize);
        let holder = span.earliest;
        spans.push(json!({
            "text": tokenizer.decode(&evidence.answer_tokens[start..end])?,
            "start_token": start, "end_token": end,
            "contributor": holder
                .and_then(|holder| evidence.contributor_of_record(holder.record))
                .map(|contributor| &evidence.players[contributor].contributor),
            "record": holder.map(|holder| holder.record),
            "holders": span.holders,
        }));
    }
    let explanation = explain(document, None)?;
    let reason = |wallet| {
        let found = explanation.contributors.iter().find(|reason| reason.wallet == wallet);
        found.map(|reason| reason.sentence.as_str())
    };
    let contributors: Vec<Value> = evidence
        .players
        .iter()
        .zip(evidence.contributor_shares())
        .map(|(player, member)| {
            json!({
                "contributor": player.contributor, "wallet": player.wallet,
                "share_ppm": member.share.ppm(), "measured_ppm": member.measured.ppm(),
                "paid_wei": paid(document, player.wallet),
                "reason": reason(player.wallet),
            })
        })
        .collect();
    let fee = &evidence.fee;
    Ok(json!({
        "spans": spans,
        "contributors": contributors,
        "commons_reason": explanation.commons_reason,
        "fidelity": fidelity,
        "explained_ppm": outcome.explained.ppm(),
        "commons_share_ppm": outcome.shares.commons.ppm(),
        "fee_wei": fee.fee, "platform_wei": fee.platform, "compute_wei": fee.compute,
        "model_wei": fee.model, "stakers_wei": fee.stakers, "commons_wei": fee.commons,
        "receipt": {
            "receipt": document.receipt, "signature": document.signature,
            "operator": document.operator,
        },
        "receipt_url": format!("/v1/receipts/{}", document.receipt.id),
    }))
}

/// What a player gets: each player is one wallet.
pub(crate) fn paid(document: &ReceiptDocument, wallet: Address) -> OpenAmount {
    let payee = document.receipt.payees.iter().position(|payee| payee.account == wallet);
    payee.map_or(OpenAmount::ZERO, |at| document.evidence.fee.paid[at])
}
