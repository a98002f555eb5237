//! Groups of a model's contributors that get a design of their own.
//!
//! ```text
//! settled receipts ─▶ earnings of each group ─▶ Grouping::open ─▶ train ─▶ chain ─▶ NAME/openings/INDEX
//! ```
//!
//! The model stays what it is. From the next answer on, what the members of the opened groups did to it is
//! measured, and the shares of their groups are divided by that.

use std::{
    fs,
    path::{Path, PathBuf},
};

use openledger_attribution::{Design, DesignRef, Grouping, OpenedInputs, OpenedOutcome};
use openledger_primitives::{Address, B256};
use serde::{Deserialize, Serialize};

use crate::{
    Announcement, Error, Ledger, ModelManifest, PublishedModel, ReceiptDocument, Store,
    TrainedModel,
    files::write_durably,
    publish::save_runs,
    published_model::design_root,
    retrain::{states_of, trace_root},
    work_folder::WorkFolder,
};

/// File name of an opening's manifest.
const MANIFEST: &str = "opening.json";
/// Receipts that are read at a time.
const RECEIPTS_AT_A_TIME: u32 = 500;

/// What is known of an opening: written when it is on chain, never changed after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpeningManifest {
    /// Its number on chain.
    pub index: u64,
    /// The training that it comes from.
    pub job_id: u64,
    /// Unix seconds.
    pub opened_at: u64,
    /// Who plays, and who is in every run.
    pub grouping: Grouping,
    /// Over the players.
    pub design: DesignRef,
    /// Adapter of each run; the first is the model's own.
    pub runs: Vec<Option<B256>>,
    /// State hashes of each run that was trained for it.
    pub traces: Vec<Vec<B256>>,
    /// Commits to the traces.
    pub trace_root: B256,
}

/// What an opening measured about one answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenedEvidence {
    /// Its number on chain.
    pub index: u64,
    /// Adapter of each run; the first is the model's own.
    pub adapters: Vec<Option<B256>>,
    /// What was measured.
    pub inputs: OpenedInputs,
    /// What follows from it.
    pub outcome: OpenedOutcome,
}

/// Folder of an opening below its model's.
pub fn opening_folder(model: &Path, index: u64) -> PathBuf {
    model.join("openings").join(format!("{index:03}"))
}

impl OpeningManifest {
    /// The newest opening in a model's folder, if there is one.
    pub fn newest(model: &Path) -> Result<Option<Self>, Error> {
        let mut newest = None;
        for index in 0.. {
            let path = opening_folder(model, index).join(MANIFEST);
            let json = match fs::read(&path) {
                Ok(json) => json,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
                Err(error) => return Err(Error::io("read", &path, error)),
            };
            let found = serde_json::from_slice(&json)
                .map_err(|error| Error::Corrupt(format!("{}: {error}", path.display())))?;
            newest = Some(found);
        }
        Ok(newest)
    }

    /// The evidence for `values`, one per run.
    pub(crate) fn evidence(&self, values: Vec<i64>) -> Result<OpenedEvidence, Error> {
        let inputs = OpenedInputs { design: self.design, grouping: self.grouping.clone(), values };
        let outcome = inputs.derive()?;
        Ok(OpenedEvidence { index: self.index, adapters: self.runs.clone(), inputs, outcome })
    }
}

/// What the contributors of each group have been paid for answers of a model, in wei, since its newest
/// opening.
pub async fn earnings(store: &Store, model: &PublishedModel) -> Result<Vec<u128>, Error> {
    let manifest = &model.manifest;
    let since = model.opening.as_ref().map_or(0, |opening| opening.opened_at);
    let player_of = manifest.grouping.players();
    let mut earned = vec![0u128; manifest.grouping.groups().len()];
    let mut after = 0;
    loop {
        let page = store.settled_after(after, RECEIPTS_AT_A_TIME).await?;
        let Some((last, _)) = page.last() else { return Ok(earned) };
        after = *last;
        for (_, json) in &page {
            let document: ReceiptDocument = serde_json::from_str(json)
                .map_err(|error| Error::Corrupt(format!("a receipt: {error}")))?;
            let (receipt, fee) = (&document.receipt, &document.evidence.fee);
            let own = document.evidence.model.adapters == manifest.runs;
            if !own || receipt.issuedAt < since {
                continue;
            }
            for (payee, paid) in receipt.payees.iter().zip(&fee.paid) {
                let contributor =
                    manifest.players.iter().position(|player| player.wallet == payee.account);
                if let Some(group) = contributor.and_then(|at| player_of[at]) {
                    earned[usize::from(group)] += paid.wei();
                }
            }
        }
    }
}

/// An opening that was trained, on its way to the chain.
#[derive(Debug, Clone, Copy)]
pub struct OpeningPublication<'a> {
    /// The model's folder.
    pub model: &'a Path,
    /// Its manifest.
    pub manifest: &'a ModelManifest,
    /// Who owns the model.
    pub owner: Address,
    /// Who plays, and who is in every run.
    pub grouping: &'a Grouping,
    /// The adapters; nothing for the first run, which is the model's own.
    pub trained: &'a TrainedModel,
    /// Number that the opening gets.
    pub index: u64,
}

/// Keeps an opening and puts it on chain: adapters first, then the chain, then the manifest. One that an
/// interrupted run has put on chain already is recognised by its adapters.
pub async fn publish_opening(
    ledger: &Ledger,
    announcement: &Announcement<'_>,
    publication: &OpeningPublication<'_>,
) -> Result<OpeningManifest, Error> {
    let OpeningPublication { model, manifest, owner, grouping, trained, index } = *publication;
    let folder = opening_folder(model, index);
    let mut runs = save_runs(&folder, trained)?;
    runs[0] = manifest.runs[0];
    let traces: Vec<Vec<B256>> =
        trained.runs.iter().map(|run| run.as_ref().map(states_of).unwrap_or_default()).collect();
    let (trace_root, root) = (trace_root(&traces), design_root(&runs));
    let known = match ledger.opening(manifest.model_id, index).await? {
        Some(known) if known.designRoot == root => known,
        Some(_) => {
            let what = format!("opening {index} on the chain is another one");
            return Err(Error::Audit(what));
        }
        None => {
            let job = announcement.job_id;
            ledger.open_groups(owner, manifest.model_id, job, root, trace_root).await?;
            let opened = ledger.opening(manifest.model_id, index).await?;
            opened.ok_or_else(|| Error::Audit(format!("the chain has no opening {index}")))?
        }
    };
    let opening = OpeningManifest {
        index,
        job_id: announcement.job_id,
        opened_at: known.openedAt,
        grouping: grouping.clone(),
        design: trained.design.reference(),
        runs,
        traces,
        trace_root,
    };
    let json = serde_json::to_vec_pretty(&opening).expect("strings, integers and lists");
    write_durably(&folder.join(MANIFEST), &json)?;
    WorkFolder::of(&folder).remove()?;
    Ok(opening)
}

impl OpenedEvidence {
    /// Whether the numbers follow from what was measured.
    pub(crate) fn verify(&self, published: i64) -> Result<(), String> {
        let outcome = self.inputs.derive().map_err(|error| error.to_string())?;
        if outcome != self.outcome {
            return Err("the opened design gives other effects".into());
        }
        if self.inputs.values.first() != Some(&published) {
            return Err("the opened design has another value of the published adapter".into());
        }
        let runs = Design::try_from(&self.inputs.design).map_or(0, |design| design.run_count());
        if self.adapters.len() != runs {
            return Err("there is not one adapter per run of the opened design".into());
        }
        Ok(())
    }
}
