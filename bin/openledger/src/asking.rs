use std::time::{Duration, Instant};

use openledger_gateway::{Check, Ledger, ReceiptDocument, verify_json, verify_on_chain};
use openledger_primitives::{Address, OpenAmount, Share};
use serde_json::{Value, json};

use crate::{
    failure::{Exit, Failure, OrFail},
    local::gateway_failure,
};

/// Longest wait for the block that settles a receipt.
const SETTLEMENT_WAIT_MAX: Duration = Duration::from_secs(60);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(200);

/// One question asked over HTTP, answered, settled and verified.
pub struct Asked {
    pub question: String,
    pub answer: String,
    /// Spans of the answer as the gateway shows them.
    pub spans: Vec<ShownSpan>,
    pub document: ReceiptDocument,
    /// The receipt document byte for byte as it was served.
    pub file: String,
    /// Balance of each player's wallet before and after.
    pub balances: Vec<(OpenAmount, OpenAmount)>,
    pub checks: Vec<Check>,
}

/// A span and the contributor it is credited to.
pub struct ShownSpan {
    pub text: String,
    pub player: Option<usize>,
}

/// An application in front of a gateway.
pub struct App<'a> {
    pub http: reqwest::Client,
    pub api_url: &'a str,
    pub api_key: &'a str,
    pub ledger: &'a Ledger,
    /// Wallets of the players.
    pub wallets: &'a [Address],
}

impl App<'_> {
    /// Asks, waits for the settlement, reads the balances, verifies the receipt.
    pub async fn ask(&self, model: &str, question: &str) -> Result<Asked, Failure> {
        let before = self.balances().await?;
        let body = json!({ "model": model, "messages": [{ "role": "user", "content": question }] });
        let response = self.post("/v1/chat/completions", &body).await?;
        let answer = response["choices"][0]["message"]["content"].as_str().unwrap_or_default();
        let attribution = &response["attribution"];
        let path = attribution["receipt_url"]
            .as_str()
            .ok_or_else(|| Failure::new(Exit::Failure, "the answer carries no receipt"))?;
        let file = self.settled_receipt(path).await?;
        let (mut checks, document) = verify_json(file.as_bytes(), None);
        let document = document.ok_or_else(|| {
            Failure::new(Exit::Failure, "the gateway served a receipt that cannot be read")
                .cause(checks[0].failure.clone().unwrap_or_default())
        })?;
        checks.push(verify_on_chain(&document, self.ledger).await.map_err(gateway_failure)?);
        let after = self.balances().await?;
        Ok(Asked {
            question: question.to_owned(),
            answer: answer.to_owned(),
            spans: spans(&document, attribution),
            document,
            file,
            balances: before.into_iter().zip(after).collect(),
            checks,
        })
    }

    async fn balances(&self) -> Result<Vec<OpenAmount>, Failure> {
        let mut balances = Vec::with_capacity(self.wallets.len());
        for wallet in self.wallets {
            balances.push(self.ledger.wallet_balance(*wallet).await.map_err(gateway_failure)?);
        }
        Ok(balances)
    }

    /// The receipt document once it holds its settlement.
    async fn settled_receipt(&self, path: &str) -> Result<String, Failure> {
        let started = Instant::now();
        loop {
            let file = self.get(path).await?;
            let document: Value =
                serde_json::from_str(&file).or_fail(Exit::Failure, "the receipt is not JSON")?;
            if !document["settlement"].is_null() {
                return Ok(file);
            }
            if started.elapsed() > SETTLEMENT_WAIT_MAX {
                return Err(Failure::new(Exit::Chain, "the receipt was not settled in time")
                    .hint("the receipt is kept; it is settled when the chain answers again"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let request = self.http.post(format!("{}{path}", self.api_url)).json(body);
        let text = self.send(request).await?;
        serde_json::from_str(&text).or_fail(Exit::Failure, "the gateway's answer is not JSON")
    }

    async fn get(&self, path: &str) -> Result<String, Failure> {
        self.send(self.http.get(format!("{}{path}", self.api_url))).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<String, Failure> {
        let response = request.bearer_auth(self.api_key).send().await;
        let response = response.or_fail(Exit::Chain, "the gateway did not answer")?;
        let status = response.status();
        let text = response.text().await.or_fail(Exit::Chain, "the gateway's answer broke off")?;
        if status.is_success() {
            return Ok(text);
        }
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let exit = match body["error"]["code"].as_str() {
            Some("insufficient_quota") => Exit::InsufficientFunds,
            Some("model_not_found") => Exit::NotFound,
            _ => Exit::Failure,
        };
        let cause = body["error"]["message"].as_str().unwrap_or(&text).to_owned();
        Err(Failure::new(exit, format!("the gateway refused the request ({status})")).cause(cause))
    }
}

impl Asked {
    /// Shares with names and payments, in the order of the design.
    pub fn shares(&self) -> impl Iterator<Item = Paid<'_>> {
        let evidence = &self.document.evidence;
        let receipt = &self.document.receipt;
        let shares = evidence.contributor_shares();
        evidence.players.iter().enumerate().map(move |(index, player)| {
            let payee = receipt.payees.iter().position(|payee| payee.account == player.wallet);
            Paid {
                contributor: &player.contributor,
                wallet: player.wallet,
                share: shares.get(index).map_or(Share::ZERO, |member| member.share),
                measured: shares.get(index).map_or(Share::ZERO, |member| member.measured),
                paid: payee.map_or(OpenAmount::ZERO, |at| evidence.fee.paid[at]),
                before: self.balances[index].0,
                after: self.balances[index].1,
            }
        })
    }

    /// Whether every check passed.
    pub fn verified(&self) -> bool {
        self.checks.iter().all(Check::passed)
    }

    /// The document of `--json`.
    pub fn to_json(&self) -> Value {
        let (evidence, fee) = (&self.document.evidence, &self.document.evidence.fee);
        let shares: Vec<Value> = self
            .shares()
            .map(|paid| {
                json!({
                    "contributor": paid.contributor, "wallet": paid.wallet,
                    "share_ppm": paid.share.ppm(), "measured_ppm": paid.measured.ppm(), "paid_wei": paid.paid,
                    "balance_before_wei": paid.before, "balance_after_wei": paid.after,
                })
            })
            .collect();
        let spans: Vec<Value> = self
            .spans
            .iter()
            .map(|span| {
                let name = span.player.map(|player| &evidence.players[player].contributor);
                json!({ "text": span.text, "contributor": name })
            })
            .collect();
        let receipt: Value = serde_json::from_str(&self.file).unwrap_or_default();
        let settlement = self.document.settlement.as_ref().map(|settled| &settled.statement);
        json!({
            "question": self.question, "answer": self.answer, "model": evidence.model.name,
            "spans": spans, "shares": shares,
            "explained_ppm": evidence.attribution.outcome.explained.ppm(),
            "platform_wei": fee.platform, "compute_wei": fee.compute, "model_wei": fee.model,
            "stakers_wei": fee.stakers, "commons_wei": fee.commons, "fee_wei": fee.fee,
            "tx_hash": settlement.map(|settled| settled.txHash),
            "block_number": settlement.map(|settled| settled.blockNumber),
            "verified": self.verified(), "checks": self.checks, "receipt": receipt,
        })
    }
}

/// One line of the table of who was paid.
pub struct Paid<'a> {
    pub contributor: &'a str,
    pub wallet: Address,
    pub share: Share,
    /// What of the share was measured; the rest is apportioned inside a group.
    pub measured: Share,
    pub paid: OpenAmount,
    pub before: OpenAmount,
    pub after: OpenAmount,
}

fn spans(document: &ReceiptDocument, attribution: &Value) -> Vec<ShownSpan> {
    let credited = &document.evidence.attribution.outcome.credit.spans;
    let shown = attribution["spans"].as_array().into_iter().flatten();
    shown
        .zip(credited)
        .map(|(shown, span)| ShownSpan {
            text: shown["text"].as_str().unwrap_or_default().to_owned(),
            player: span
                .earliest
                .and_then(|holder| document.evidence.contributor_of_record(holder.record)),
        })
        .collect()
}
