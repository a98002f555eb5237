use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Bytes;
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::SolStruct;
use openledger_attribution::{Evidence, Inputs, Share, SpanMatch};
use openledger_contracts::addresses::INFERENCE_MARKET;
use openledger_openlora::{AdapterHash, ScoreRequest};
use openledger_primitives::{Address, B256, FeeParts, Payee, Receipt, U256, split_fee};
use serde_json::Value;

use crate::{
    Error, Gateway, PublishedModel, ReceiptStatus, StoredReceipt,
    ask::Question,
    document::{AnswerEvidence, Citation, DOCUMENT_VERSION, ModelEvidence, ReceiptDocument, Turn},
    examples::answer_tokens,
    random,
    text_model::Produced,
    view::attribution_view,
};

impl Gateway {
    /// Attributes an answer, signs its receipt and keeps it. Returns the `attribution` key of the
    /// answer. When this returns the receipt is on disk and the settler knows of it.
    pub(crate) async fn issue(
        &self,
        question: &Question,
        produced: &Produced,
    ) -> Result<Value, Error> {
        let evidence = self.evidence(question, produced).await?;
        let receipt = receipt(question, produced, &evidence);
        let signature = sign(&self.operator, &receipt, &self.ledger.domain())?;
        let document = ReceiptDocument {
            version: DOCUMENT_VERSION,
            chain_id: self.ledger.chain_id(),
            market: INFERENCE_MARKET,
            operator: self.operator(),
            receipt,
            signature,
            evidence,
            settlement: None,
        };
        let view = attribution_view(&document, &self.text.tokenizer, &question.model.fidelity())?;
        self.store
            .issue(&StoredReceipt {
                receipt_id: document.receipt.id,
                completion_id: question.heading.id.clone(),
                payer: question.payer,
                fee: document.evidence.fee.fee,
                status: ReceiptStatus::Issued,
                document: document.to_json(),
                attribution: view.to_string(),
                reason: None,
            })
            .await?;
        self.issued.notify_one();
        Ok(view)
    }

    /// Asks every adapter of the design for the answer's likelihood, and derives the shares.
    async fn evidence(
        &self,
        question: &Question,
        produced: &Produced,
    ) -> Result<AnswerEvidence, Error> {
        let model = &question.model;
        let runs = model.manifest.runs.len();
        let opened = model.opening.iter().flat_map(|opening| opening.runs.iter().skip(1));
        let all = model.manifest.runs.iter().chain(opened);
        let adapters: Vec<Option<AdapterHash>> =
            all.map(|run| run.map(|hash| AdapterHash(hash.0))).collect();
        let request = ScoreRequest {
            prompt: question.prompt.clone(),
            answer: produced.tokens.clone(),
            adapters,
        };
        let likelihoods = self.text.engine.score(request).await?;
        let all: Vec<i64> = likelihoods.iter().map(|tokens| tokens.iter().sum()).collect();
        let (values, opened) = all.split_at(runs);
        // The first run of an opened design is the model itself.
        let opened = || [&values[..1], opened].concat();
        let opened =
            model.opening.as_ref().map(|opening| opening.evidence(opened())).transpose()?;
        let matches = model.spans.matches(&produced.tokens);
        let mut evidence = AnswerEvidence {
            model: ModelEvidence::of(&model.manifest),
            salt: random::hash(),
            request: question.turns.clone(),
            prompt_tokens: question.prompt.clone(),
            answer: produced.text.clone(),
            answer_tokens: produced.tokens.clone(),
            players: model.manifest.players.clone(),
            opened,
            division: None,
            citations: self.citations(model, &matches)?,
            attribution: Evidence::new(Inputs {
                design: model.manifest.design,
                values: values.to_vec(),
                surprisals: surprisals(&likelihoods[model.design.order()]),
                influence: question.terms.influence,
                matches,
                tie_seed: B256::ZERO,
            })?,
            price: question.terms.price,
            split: question.terms.split,
            somebody_stakes: question.terms.somebody_stakes,
            fee: FeeParts::default(),
        };
        // Ties are broken by the salted answer hash, which no contributor chooses.
        let tie_seed = evidence.answer_hash();
        let inputs = Inputs { tie_seed, ..evidence.attribution.inputs };
        evidence.attribution = Evidence::new(inputs)?;
        evidence.division =
            model.division(&evidence.answer, &evidence.attribution, evidence.opened.as_ref())?;
        evidence.fee = evidence.derive_fee()?;
        Ok(evidence)
    }

    /// Each record that a span names as its earliest holder, once, with its proof.
    fn citations(
        &self,
        model: &PublishedModel,
        matches: &[SpanMatch],
    ) -> Result<Vec<Citation>, Error> {
        let records: BTreeSet<u32> =
            matches.iter().filter_map(|found| Some(found.earliest?.record)).collect();
        let missing = |record| Error::Corrupt(format!("the index names record {record}"));
        let mut citations = Vec::with_capacity(records.len());
        for record in records {
            let at = record as usize;
            let canonical =
                model.records.records().get(at).ok_or_else(|| missing(record))?.canonical();
            let turn = |message: &openledger_datanet::Message| Turn {
                role: message.role().as_str().to_owned(),
                content: message.text().to_owned(),
            };
            citations.push(Citation {
                record,
                messages: canonical.messages().iter().map(turn).collect(),
                tokens: answer_tokens(canonical, &self.text.tokenizer, &self.text.template)?,
                proof: model.records.prove(at).ok_or_else(|| missing(record))?,
            });
        }
        Ok(citations)
    }
}

impl AnswerEvidence {
    /// Who is paid which share: contributors of one wallet together, ascending by wallet, no zero shares.
    pub fn payees(&self) -> Vec<Payee> {
        let mut by_wallet: BTreeMap<Address, u64> = BTreeMap::new();
        for (player, member) in self.players.iter().zip(self.contributor_shares()) {
            *by_wallet.entry(player.wallet).or_default() += member.share.parts();
        }
        by_wallet
            .into_iter()
            .filter(|(_, share)| *share > 0)
            .map(|(account, share)| Payee { account, share })
            .collect()
    }

    /// Where every wei of the fee goes; `paid` in the order of [`AnswerEvidence::payees`].
    pub fn derive_fee(&self) -> Result<FeeParts, Error> {
        let shares: Vec<Share> = self
            .payees()
            .iter()
            .map(|payee| Share::from_parts(payee.share))
            .collect::<Option<_>>()
            .ok_or_else(|| Error::Corrupt("a share above the whole".into()))?;
        let (tokens_in, tokens_out) = (self.prompt_tokens.len(), self.answer_tokens.len());
        split_fee(
            self.price,
            tokens_in as u64,
            tokens_out as u64,
            self.split,
            self.somebody_stakes,
            &shares,
        )
        .map_err(|error| Error::Corrupt(error.to_string()))
    }
}

fn receipt(question: &Question, produced: &Produced, evidence: &AnswerEvidence) -> Receipt {
    Receipt {
        id: random::hash(),
        modelId: U256::from(question.model.manifest.model_id),
        payer: question.payer,
        tokensIn: question.prompt.len() as u64,
        tokensOut: produced.tokens.len() as u64,
        fee: evidence.fee.fee.into(),
        requestHash: evidence.request_hash(),
        answerHash: evidence.answer_hash(),
        evidenceHash: evidence.hash(),
        issuedAt: question.terms.issued_at,
        payees: evidence.payees(),
    }
}

/// EIP-712 signature: r, s, v with v 27 or 28.
pub(crate) fn sign(
    signer: &PrivateKeySigner,
    value: &impl SolStruct,
    domain: &alloy_sol_types::Eip712Domain,
) -> Result<Bytes, Error> {
    let digest = value.eip712_signing_hash(domain);
    let signature =
        signer.sign_hash_sync(&digest).map_err(|error| Error::Signing(error.to_string()))?;
    Ok(Bytes::from(signature.as_bytes()))
}

/// −log p of each token under the base; what spans are weighed by.
pub(crate) fn surprisals(base: &[i64]) -> Vec<u64> {
    base.iter().map(|value| value.checked_neg().map_or(0, |value| value.max(0) as u64)).collect()
}

impl ModelEvidence {
    fn of(manifest: &crate::ModelManifest) -> Self {
        Self {
            name: manifest.name.clone(),
            base_hash: manifest.base_hash,
            recipe_hash: manifest.recipe_hash(),
            adapters: manifest.runs.clone(),
            datanets: manifest.datanets.clone(),
        }
    }
}
