//! Re-derives every number of a receipt document.
//!
//! Pure: needs the document and nothing else. What the chain or the model can say besides is asked by
//! the caller ([`crate::verify_on_chain`], [`crate::verify_likelihoods`]) and listed with the rest.

use alloy_primitives::Signature;
use alloy_sol_types::{Eip712Domain, SolStruct};
use openledger_attribution::{Basis, Evidence};
use openledger_datanet::{Canonical, Role as RecordRole};
use openledger_primitives::{Address, B256, receipt_domain};
use serde::Serialize;

use crate::document::{AnswerEvidence, Citation, DOCUMENT_VERSION, ReceiptDocument};

/// Largest document that is read.
pub const DOCUMENT_BYTES_MAX: usize = 16 << 20;

/// One step of the verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Name of the step.
    pub step: &'static str,
    /// What holds if it passes.
    pub claim: &'static str,
    /// Why it does not, if it does not.
    pub failure: Option<String>,
}

impl Check {
    pub(crate) fn new(
        step: &'static str,
        claim: &'static str,
        outcome: Result<(), String>,
    ) -> Self {
        Self { step, claim, failure: outcome.err() }
    }

    /// Whether the step holds.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

/// Verifies a document given as JSON. The first check is its form; if that fails nothing else can be
/// read, and it is the only one.
pub fn verify_json(
    json: &[u8],
    operator: Option<Address>,
) -> (Vec<Check>, Option<ReceiptDocument>) {
    let claim = "the file is a receipt document in the form the operator wrote";
    match parse(json) {
        Err(failure) => (vec![Check::new("format", claim, Err(failure))], None),
        Ok(document) => {
            let mut checks = vec![Check::new("format", claim, Ok(()))];
            checks.extend(verify(&document, operator));
            (checks, Some(document))
        }
    }
}

/// Reads a document. Layout and key order of the JSON are free; every value must be written the one
/// way the operator writes it, so that no byte of a value can change unnoticed.
fn parse(json: &[u8]) -> Result<ReceiptDocument, String> {
    if json.len() > DOCUMENT_BYTES_MAX {
        return Err(format!("the file is larger than {DOCUMENT_BYTES_MAX} bytes"));
    }
    let document: ReceiptDocument =
        serde_json::from_slice(json).map_err(|error| error.to_string())?;
    if document.version != DOCUMENT_VERSION {
        return Err(format!("version {} is not {DOCUMENT_VERSION}", document.version));
    }
    let value: serde_json::Value =
        serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let found = serde_json_canonicalizer::to_string(&value).map_err(|error| error.to_string())?;
    let written = document.to_json();
    if found == written {
        return Ok(document);
    }
    let at = found.bytes().zip(written.bytes()).take_while(|(a, b)| a == b).count();
    let near: String = String::from_utf8_lossy(&found.as_bytes()[at.saturating_sub(40)..])
        .chars()
        .take(60)
        .collect();
    Err(format!("a value is not written in its one canonical form near: {near}"))
}

/// Verifies a parsed document.
fn verify(document: &ReceiptDocument, operator: Option<Address>) -> Vec<Check> {
    let (receipt, evidence) = (&document.receipt, &document.evidence);
    let domain = receipt_domain(document.chain_id, document.market);
    let digest = receipt.eip712_signing_hash(&domain);
    vec![
        Check::new(
            "request",
            "the receipt commits to this request",
            equal("request hash", evidence.request_hash(), receipt.requestHash),
        ),
        Check::new(
            "answer",
            "the receipt commits to this answer",
            equal("answer hash", evidence.answer_hash(), receipt.answerHash),
        ),
        Check::new("spans", "each span stands in the record it names", spans(evidence)),
        Check::new("records", "each named record is in the Datanet", records(evidence)),
        Check::new(
            "shares",
            "likelihoods, effects, noise floor and spans give these shares",
            shares(evidence),
        ),
        Check::new(
            "members",
            "each group's share goes to its members, by their own text and by weight",
            members(evidence),
        ),
        Check::new("payees", "the wallets paid are the shares' owners", payees(document)),
        Check::new("fee", "price and split give this fee, to the wei", fee(document)),
        Check::new(
            "evidence",
            "the receipt commits to everything above",
            equal("evidence hash", evidence.hash(), receipt.evidenceHash),
        ),
        Check::new(
            "signature",
            "the operator signed the receipt",
            signed_by(&document.signature, digest, document.operator)
                .and_then(|()| expected_operator(document.operator, operator)),
        ),
        Check::new(
            "settlement",
            "the operator signed where it was paid",
            settlement(document, digest, &domain),
        ),
    ]
}

fn spans(evidence: &AnswerEvidence) -> Result<(), String> {
    for (index, span) in evidence.attribution.inputs.matches.iter().enumerate() {
        let Some(holder) = span.earliest else { continue };
        let citation = evidence.citations.iter().find(|cited| cited.record == holder.record);
        let citation = citation.ok_or_else(|| {
            format!("span {index} names record {}, which is not cited", holder.record)
        })?;
        let owner = evidence.contributor_of_record(citation.record);
        if owner.and_then(|owner| evidence.player_of(owner)) != Some(holder.player.into()) {
            return Err(format!("span {index} credits a player who did not contribute its record"));
        }
        let (start, end) = (span.start as usize, span.end() as usize);
        let text = evidence.answer_tokens.get(start..end).filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| format!("span {index} reaches past the answer"))?;
        if !citation.tokens.windows(text.len()).any(|window| window == text) {
            return Err(format!("span {index} does not stand in record {}", holder.record));
        }
    }
    Ok(())
}

fn records(evidence: &AnswerEvidence) -> Result<(), String> {
    let root = evidence.model.datanets.first().map(|datanet| datanet.root);
    let root = root.ok_or("the model names no Datanet")?;
    for citation in &evidence.citations {
        let record = canonical(citation)?;
        if citation.proof.merkle.index != u64::from(citation.record)
            || !citation.proof.verify_content(&record, root)
        {
            return Err(format!("record {} is not in the Datanet", citation.record));
        }
    }
    Ok(())
}

pub(crate) fn canonical(citation: &Citation) -> Result<Canonical, String> {
    let mut turns = Vec::new();
    for message in &citation.messages {
        let role = match message.role.as_str() {
            "system" => RecordRole::System,
            "user" => RecordRole::User,
            "assistant" => RecordRole::Assistant,
            other => return Err(format!("record {}: role {other:?}", citation.record)),
        };
        turns.push((role, message.content.as_str()));
    }
    Canonical::conversation(&turns)
        .map_err(|error| format!("record {} is not a record: {error}", citation.record))
}

fn shares(evidence: &AnswerEvidence) -> Result<(), String> {
    let inputs = &evidence.attribution.inputs;
    evidence.attribution.verify().map_err(|error| format!("{}: {error}", error.step()))?;
    if inputs.surprisals.len() != evidence.answer_tokens.len() {
        return Err("there is not one surprisal per answer token".into());
    }
    let players = evidence.division.as_ref().map_or(evidence.players.len(), |d| d.players.len());
    if usize::from(inputs.design.players) != players {
        return Err("there is not one player per column of the design".into());
    }
    if inputs.values.len() != evidence.model.adapters.len() {
        return Err("there is not one adapter per run of the design".into());
    }
    equal("tie seed", evidence.answer_hash(), inputs.tie_seed)
}

/// Members of groups: once each, charged for their own text, paid what follows.
fn members(evidence: &AnswerEvidence) -> Result<(), String> {
    let Some(division) = &evidence.division else { return Ok(()) };
    let Evidence { inputs, outcome } = &evidence.attribution;
    division
        .verify(outcome, inputs.influence, inputs.tie_seed)
        .map_err(|error| error.to_string())?;
    if division.shares.len() != evidence.players.len() {
        return Err("not every contributor stands behind one player".into());
    }
    for member in division.players.iter().flatten() {
        let number = member.contributor as usize;
        let own = outcome.credit.spans.iter().filter(|span| {
            let record = span.earliest.map(|holder| holder.record);
            record.and_then(|record| evidence.contributor_of_record(record)) == Some(number)
        });
        if own.map(|span| span.charged).sum::<u64>() != member.charged {
            return Err(format!("contributor {number} is charged for other text than its own"));
        }
    }
    if let Some(opened) = &evidence.opened {
        opened.verify(inputs.values.first().copied().unwrap_or_default())?;
        if opened.inputs.grouping.contributors() != evidence.players.len() {
            return Err("the opened design has other contributors".into());
        }
    }
    for members in &division.players {
        // What was measured of the members takes the place of any weight that is claimed.
        let mut weighed = members.clone();
        if let Some(opened) = &evidence.opened {
            opened.inputs.weigh(&opened.outcome, std::slice::from_mut(&mut weighed));
        }
        for (member, weighed) in members.iter().zip(&weighed) {
            let holds = match (members.len(), weighed.basis) {
                (1, _) => (member.weight, member.basis) == (1, Basis::Measured),
                (_, Basis::Measured) => {
                    evidence.opened.is_some()
                        && (member.weight, member.basis) == (weighed.weight, weighed.basis)
                }
                (_, Basis::Apportioned) => member.basis == Basis::Apportioned,
            };
            if !holds {
                let number = member.contributor;
                return Err(format!("contributor {number} is not measured as it is claimed"));
            }
        }
    }
    Ok(())
}

fn payees(document: &ReceiptDocument) -> Result<(), String> {
    if document.evidence.payees() == document.receipt.payees {
        Ok(())
    } else {
        Err("the receipt pays other wallets or other shares".into())
    }
}

fn fee(document: &ReceiptDocument) -> Result<(), String> {
    let (receipt, evidence) = (&document.receipt, &document.evidence);
    let tokens = (evidence.prompt_tokens.len() as u64, evidence.answer_tokens.len() as u64);
    if tokens != (receipt.tokensIn, receipt.tokensOut) {
        return Err("the receipt counts other tokens".into());
    }
    let derived = evidence.derive_fee().map_err(|error| error.to_string())?;
    if derived != evidence.fee {
        return Err("the parts of the fee are not what price, split and shares give".into());
    }
    equal("fee", derived.fee.into(), receipt.fee)
}

fn expected_operator(found: Address, expected: Option<Address>) -> Result<(), String> {
    match expected {
        Some(expected) if expected != found => Err(format!("signed by {found}, not by {expected}")),
        _ => Ok(()),
    }
}

fn settlement(
    document: &ReceiptDocument,
    digest: B256,
    domain: &Eip712Domain,
) -> Result<(), String> {
    let Some(settlement) = &document.settlement else {
        return Err("the receipt is not settled yet; fetch it again in a moment".into());
    };
    equal("receipt digest", settlement.statement.receiptDigest, digest)?;
    let statement = settlement.statement.eip712_signing_hash(domain);
    signed_by(&settlement.signature, statement, document.operator)
}

/// A signature counts only in its one canonical form (low s, v 27 or 28), as in OpenZeppelin's ECDSA.
fn signed_by(signature: &[u8], digest: B256, signer: Address) -> Result<(), String> {
    let malformed = || "the signature is malformed".to_owned();
    let parsed = Signature::from_raw(signature).map_err(|_| malformed())?;
    if parsed.as_bytes().as_slice() != signature || parsed.normalize_s().is_some() {
        return Err(malformed());
    }
    let found = parsed
        .recover_address_from_prehash(&digest)
        .map_err(|_| "the signature belongs to nobody".to_owned())?;
    if found == signer { Ok(()) } else { Err(format!("signed by {found}, not by {signer}")) }
}

fn equal<T: PartialEq + core::fmt::Display>(
    what: &str,
    found: T,
    expected: T,
) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what} is {found}, but {expected} is committed"))
    }
}
