use std::{fs, path::Path};

use openledger_attribution::Influence;
use openledger_model::{Adapter, ChatTemplate, Decoder, Message, ScoreRequest, Tokenizer};
use openledger_primitives::{B256, OpenAmount, U256};

use crate::{
    Error, Ledger, PublishedModel,
    document::ReceiptDocument,
    examples::answer_tokens,
    issue::surprisals,
    opening::opening_folder,
    published_model::{design_root, run_folder},
    verify::Check,
};

/// What the chain says: the model and Datanet versions are registered as the document has them, and the
/// settlement moved exactly these amounts.
pub async fn verify_on_chain(document: &ReceiptDocument, ledger: &Ledger) -> Result<Check, Error> {
    let claim = "the chain holds this model, these Datanets and this payment";
    let outcome = chain_agrees(document, ledger).await?;
    Ok(Check::new("chain", claim, outcome))
}

async fn chain_agrees(
    document: &ReceiptDocument,
    ledger: &Ledger,
) -> Result<Result<(), String>, Error> {
    let (receipt, evidence) = (&document.receipt, &document.evidence);
    let Ok(model_id) = u64::try_from(receipt.modelId) else {
        return Ok(Err("the model id is beyond any registered model".into()));
    };
    let model = ledger.model(model_id).await?;
    let adapter = evidence.model.adapters.first().copied().flatten();
    if (model.baseHash, Some(model.adapterHash)) != (evidence.model.base_hash, adapter)
        || model.designRoot != design_root(&evidence.model.adapters)
        || model.name != evidence.model.name
    {
        return Ok(Err("the registered model has another name, base, adapter or design".into()));
    }
    if model.recipeRoot != evidence.recipe_root() {
        let what = "the registered model has another recipe, other players or other wallets";
        return Ok(Err(what.into()));
    }
    if let Some(opened) = &evidence.opened {
        let found = ledger.opening(model_id, opened.index).await?;
        let agrees = found.is_some_and(|found| {
            found.designRoot == design_root(&opened.adapters)
                && found.recipeRoot == evidence.opened_root(opened)
                && found.openedAt <= receipt.issuedAt
        });
        if !agrees {
            return Ok(Err("the chain knows no such opening of the model's groups".into()));
        }
    }
    for datanet in &evidence.model.datanets {
        if ledger.version_root(datanet.datanet_id, datanet.version).await? != datanet.root {
            return Ok(Err(format!("Datanet {} has another root", datanet.datanet_id)));
        }
    }
    let influence = ledger.influence_at(model_id, receipt.issuedAt).await?;
    if influence != evidence.attribution.inputs.influence {
        let paid = if influence == Influence::Paid { "paid" } else { "not paid" };
        return Ok(Err(format!("by the model's fidelity effects are {paid} at that time")));
    }
    let Some(settlement) = &document.settlement else {
        return Ok(Err("the receipt is not settled yet".into()));
    };
    let Some(record) = ledger.settlement(settlement.statement.txHash).await? else {
        return Ok(Err("the settlement transaction is not on this chain".into()));
    };
    if (record.included.block_number, record.included.block_hash)
        != (settlement.statement.blockNumber, settlement.statement.blockHash)
    {
        return Ok(Err("the settlement transaction is in another block".into()));
    }
    let fee = &evidence.fee;
    let wei = |amount: OpenAmount| U256::from(amount.wei());
    let settled = record.settled.iter().find(|settled| settled.id == receipt.id);
    let agrees = settled.is_some_and(|settled| {
        settled.operator == document.operator
            && settled.payer == receipt.payer
            && settled.modelId == receipt.modelId
            && settled.fee == wei(fee.fee)
            && settled.platform == wei(fee.platform)
            && settled.compute == wei(fee.compute)
            && settled.model == wei(fee.model)
            && settled.stakers == wei(fee.stakers)
            && settled.commons == wei(fee.commons)
    });
    if !agrees {
        return Ok(Err("the settlement divided the fee in another way".into()));
    }
    for (payee, amount) in receipt.payees.iter().zip(&fee.paid) {
        let paid = record.payouts.iter().any(|paid| {
            paid.receiptId == receipt.id
                && paid.account == payee.account
                && paid.amount == wei(*amount)
        });
        if !paid && *amount > OpenAmount::ZERO {
            return Ok(Err(format!("{} was not paid {amount} OPEN", payee.account)));
        }
    }
    Ok(Ok(()))
}

/// What the model says: runs every adapter of the design over the answer again, on the exact float path,
/// and reads the text into the same tokens.
///
/// `data_dir` is the folder of a node that holds the model.
pub fn verify_likelihoods(document: &ReceiptDocument, data_dir: &Path) -> Result<Check, Error> {
    let claim = "the model's own likelihoods are the recorded ones, to the bit";
    Ok(Check::new("likelihoods", claim, likelihoods_agree(document, data_dir)?))
}

fn likelihoods_agree(
    document: &ReceiptDocument,
    data_dir: &Path,
) -> Result<Result<(), String>, Error> {
    let evidence = &document.evidence;
    let Some((base, tokenizer, template)) = base_of(evidence.model.base_hash, data_dir)? else {
        return Ok(Err(format!("no base with hash {} here", evidence.model.base_hash)));
    };
    let mut found = None;
    for candidate in PublishedModel::folders(&data_dir.join("models"))? {
        let model = PublishedModel::load(&candidate, &tokenizer, &template)?;
        if model.manifest.runs == evidence.model.adapters {
            found = Some((candidate, model));
        }
    }
    let Some((folder, model)) = found else {
        return Ok(Err("no model with these adapters here".into()));
    };

    let messages: Vec<Message> = evidence
        .request
        .iter()
        .map(|turn| Message::new(crate::ask::role(&turn.role), turn.content.as_str()))
        .collect();
    if template.prompt(&tokenizer, &messages)? != evidence.prompt_tokens {
        return Ok(Err("the request does not give these prompt tokens".into()));
    }
    for citation in &evidence.citations {
        let Ok(record) = crate::verify::canonical(citation) else {
            return Ok(Err(format!("record {} is not a record", citation.record)));
        };
        if answer_tokens(&record, &tokenizer, &template)? != citation.tokens {
            return Ok(Err(format!("record {} has other tokens", citation.record)));
        }
    }
    let mut adapters = Vec::with_capacity(evidence.model.adapters.len());
    for (run, hash) in evidence.model.adapters.iter().enumerate() {
        let adapter = hash.map(|_| Adapter::load(&run_folder(&folder, run), &base)).transpose()?;
        if adapter.as_ref().map(|adapter| B256::from(adapter.hash())) != *hash {
            return Ok(Err(format!("the adapter of run {run} has another hash")));
        }
        adapters.push(adapter);
    }
    let tokens = [evidence.prompt_tokens.as_slice(), &evidence.answer_tokens].concat();
    let requests: Vec<ScoreRequest<'_>> = adapters
        .iter()
        .map(|adapter| ScoreRequest {
            tokens: &tokens,
            answer_start: evidence.prompt_tokens.len(),
            adapter: adapter.as_ref(),
        })
        .collect();
    let likelihoods = base.log_likelihoods(&requests)?;
    let inputs = &evidence.attribution.inputs;
    if let Some(opened) = &evidence.opened {
        let known = model.opening.as_ref().map(|opening| &opening.runs);
        if known != Some(&opened.adapters) {
            return Ok(Err("the model here has other opened groups".into()));
        }
        let folder = opening_folder(&folder, opened.index);
        for (run, hash) in opened.adapters.iter().enumerate().skip(1) {
            let adapter =
                hash.map(|_| Adapter::load(&run_folder(&folder, run), &base)).transpose()?;
            if adapter.as_ref().map(|adapter| B256::from(adapter.hash())) != *hash {
                return Ok(Err(format!("the adapter of opened run {run} has another hash")));
            }
            let (answer_start, adapter) = (evidence.prompt_tokens.len(), adapter.as_ref());
            let likelihood =
                base.log_likelihoods(&[ScoreRequest { tokens: &tokens, answer_start, adapter }])?;
            let value: i64 = likelihood.iter().flatten().sum();
            if opened.inputs.values.get(run) != Some(&value) {
                return Ok(Err(format!("opened run {run} gives another likelihood")));
            }
        }
    }
    let values: Vec<i64> = likelihoods.iter().map(|tokens| tokens.iter().sum()).collect();
    if let Some(run) = (0..values.len()).find(|run| inputs.values.get(*run) != Some(&values[*run]))
    {
        return Ok(Err(format!("run {run} gives another likelihood")));
    }
    let base_run = likelihoods.get(likelihoods.len() / 2).map(Vec::as_slice).unwrap_or_default();
    if surprisals(base_run) != inputs.surprisals {
        return Ok(Err("the base is surprised by other tokens".into()));
    }
    if model.division(&evidence.answer, &evidence.attribution, evidence.opened.as_ref())?
        != evidence.division
    {
        return Ok(Err("the records give other weights to the members of a group".into()));
    }
    Ok(Ok(()))
}

/// The base with this hash among those under `data_dir`, with its tokenizer and chat template.
fn base_of(
    hash: B256,
    data_dir: &Path,
) -> Result<Option<(Decoder, Tokenizer, ChatTemplate)>, Error> {
    let bases = data_dir.join("bases");
    let entries = fs::read_dir(&bases).map_err(|error| Error::io("read", &bases, error))?;
    for entry in entries {
        let folder = entry.map_err(|error| Error::io("read", &bases, error))?.path();
        let base = Decoder::load(&folder)?;
        if B256::from(base.hash()) == hash {
            let tokenizer = Tokenizer::from_file(&folder.join("tokenizer.json"))?;
            return Ok(Some((base, tokenizer, ChatTemplate::from_dir(&folder)?)));
        }
    }
    Ok(None)
}
