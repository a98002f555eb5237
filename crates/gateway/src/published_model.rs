use std::{
    fs,
    path::{Path, PathBuf},
};

use openledger_attribution::{
    Certificate, Design, DesignRef, Division, Evidence, Grouping, SpanIndex,
};
use openledger_datanet::{Version, load_version};
use openledger_factory::Recipe;
use openledger_model::{ChatTemplate, Tokenizer};
use openledger_openlora::AdapterHash;
use openledger_primitives::{B256, keccak256, merkle};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Error,
    certify::read_certificate,
    contributors::{Members, contributor_of_each_record},
    document::{DatanetEvidence, Player},
    examples::answer_tokens,
    opening::{OpenedEvidence, OpeningManifest},
};

/// File name of a model's manifest.
const MANIFEST: &str = "model.json";

/// What is known of a model: written when it is published, never changed after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelManifest {
    /// Registered name.
    pub name: String,
    /// Id on chain.
    pub model_id: u64,
    /// Unix seconds.
    pub created: u64,
    /// Hash of the base.
    pub base_hash: B256,
    /// Recipe it was trained with.
    pub recipe: Recipe,
    /// State hashes of each run, after every `trace_every` steps and after the last one.
    pub traces: Vec<Vec<B256>>,
    /// Commits to the traces, see [`crate::trace_root`].
    pub trace_root: B256,
    /// Design of the counterfactual adapters.
    pub design: DesignRef,
    /// Adapter of each run; `None` where the run is the base itself.
    pub runs: Vec<Option<B256>>,
    /// Contributors, in the order of their first record.
    pub players: Vec<Player>,
    /// Which of them stand behind each player of the design.
    pub grouping: Grouping,
    /// Datanet versions it was trained on.
    pub datanets: Vec<DatanetEvidence>,
}

/// A published model with everything an answer needs: design, players, records, span index.
#[derive(Debug)]
pub struct PublishedModel {
    /// Its manifest.
    pub manifest: ModelManifest,
    /// Its design.
    pub design: Design,
    /// The records it was trained on.
    pub records: Version,
    /// Suffix array over the completions.
    pub spans: SpanIndex,
    /// What members of groups have to do with an answer; nothing where everybody plays alone.
    pub(crate) members: Option<Members>,
    /// The newest design that opens groups of its contributors.
    pub opening: Option<OpeningManifest>,
    /// How well its effects predict what retraining gives, if that was measured.
    pub certificate: Option<Certificate>,
}

impl ModelManifest {
    /// The manifest in a model's folder, if there is one.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(MANIFEST);
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        serde_json::from_slice(&json)
            .map(Some)
            .map_err(|error| Error::Corrupt(format!("{}: {error}", path.display())))
    }

    /// Commits to the counterfactual adapters: Merkle root over the adapters of all runs, with zero
    /// where the run is the base.
    pub fn design_root(&self) -> B256 {
        design_root(&self.runs)
    }

    /// See [`recipe_hash`].
    pub(crate) fn recipe_hash(&self) -> B256 {
        recipe_hash(&self.recipe)
    }

    /// Adapter that answers.
    pub fn published(&self) -> Option<AdapterHash> {
        self.runs.first().copied().flatten().map(|hash| AdapterHash(hash.0))
    }
}

/// keccak-256 of the RFC 8785 form of a recipe.
pub(crate) fn recipe_hash(recipe: &Recipe) -> B256 {
    keccak256(serde_json_canonicalizer::to_vec(recipe).expect("a recipe is plain data"))
}

/// See [`ModelManifest::design_root`].
pub fn design_root(runs: &[Option<B256>]) -> B256 {
    let leaves: Vec<B256> =
        runs.iter().map(|run| merkle::leaf_hash(run.unwrap_or_default().as_slice())).collect();
    merkle::root(&leaves)
}

/// Folder of the adapter of one run below a model's folder.
pub(crate) fn run_folder(model: &Path, run: usize) -> PathBuf {
    model.join("runs").join(format!("{run:03}"))
}

/// Folder of the states of a run below its folder.
pub(crate) fn states_folder(run: &Path) -> PathBuf {
    run.join("states")
}

/// Folder of the records below a model's folder.
pub(crate) fn records_folder(model: &Path) -> PathBuf {
    model.join("records")
}

impl PublishedModel {
    /// Puts a model together from its manifest and records.
    pub fn new(
        manifest: ModelManifest,
        records: Version,
        tokenizer: &Tokenizer,
        template: &ChatTemplate,
    ) -> Result<Self, Error> {
        let design = Design::try_from(&manifest.design)?;
        let owners = contributor_of_each_record(&records, &manifest.players)?;
        if manifest.grouping.contributors() != manifest.players.len()
            || manifest.grouping.groups().len() != design.players()
            || !manifest.grouping.fixed().is_empty()
        {
            let what = "the groups are not those of the design and the contributors";
            return Err(Error::Corrupt(what.into()));
        }
        let completions = records
            .records()
            .iter()
            .map(|record| answer_tokens(record.canonical(), tokenizer, template))
            .collect::<Result<Vec<_>, _>>()?;
        let player_of = manifest.grouping.players();
        let players: Vec<u8> =
            owners.iter().filter_map(|owner| player_of[*owner as usize]).collect();
        let grouped = !manifest.grouping.is_alone();
        let members =
            grouped.then(|| Members::new(&manifest.grouping, &records, owners, &completions));
        let spans = SpanIndex::build(players.into_iter().zip(completions))?;
        Ok(Self { manifest, design, records, spans, members, opening: None, certificate: None })
    }

    /// How the players' shares of an answer are divided among the contributors behind them; nothing where
    /// everybody plays alone.
    pub(crate) fn division(
        &self,
        answer: &str,
        attribution: &Evidence,
        opened: Option<&OpenedEvidence>,
    ) -> Result<Option<Division>, Error> {
        let Some(members) = &self.members else { return Ok(None) };
        let Evidence { inputs, outcome } = attribution;
        let mut players = members.of_answer(answer, &outcome.credit, &self.records);
        if let Some(opened) = opened {
            opened.inputs.weigh(&opened.outcome, &mut players);
        }
        Ok(Some(Division::new(outcome, inputs.influence, players, inputs.tie_seed)?))
    }

    /// Reads a model's folder. The Datanet root is recomputed from the records.
    pub fn load(
        folder: &Path,
        tokenizer: &Tokenizer,
        template: &ChatTemplate,
    ) -> Result<Self, Error> {
        let manifest = ModelManifest::read(folder)?
            .ok_or_else(|| Error::Corrupt(format!("{} holds no model", folder.display())))?;
        let records = load_version(&records_folder(folder))?;
        if manifest.datanets.first().map(|datanet| datanet.root) != Some(records.root()) {
            let what = format!("{}: the records are not the Datanet's", folder.display());
            return Err(Error::Corrupt(what));
        }
        let certificate = read_certificate(folder)?;
        let opening = OpeningManifest::newest(folder)?;
        Ok(Self { certificate, opening, ..Self::new(manifest, records, tokenizer, template)? })
    }

    /// Writes the manifest; last of all, so a folder with a manifest is complete.
    pub(crate) fn save_manifest(folder: &Path, manifest: &ModelManifest) -> Result<(), Error> {
        let path = folder.join(MANIFEST);
        let json = serde_json::to_vec_pretty(manifest).expect("strings, integers and lists");
        crate::files::write_durably(&path, &json)
    }

    /// The model's folders under `models`, complete ones only.
    pub fn folders(models: &Path) -> Result<Vec<PathBuf>, Error> {
        let entries = match fs::read_dir(models) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("read", models, error)),
        };
        let mut folders = Vec::new();
        for entry in entries {
            let folder = entry.map_err(|error| Error::io("read", models, error))?.path();
            if folder.join(MANIFEST).is_file() {
                folders.push(folder);
            }
        }
        folders.sort_unstable();
        Ok(folders)
    }

    /// Whether `name` calls this model: its registered name or its adapter hash.
    pub fn is_called(&self, name: &str) -> bool {
        let manifest = &self.manifest;
        manifest.name == name
            || manifest.runs.first().copied().flatten().is_some_and(|hash| hash.to_string() == name)
    }

    /// The entry of `GET /v1/models`.
    pub fn listing(&self) -> Value {
        let manifest = &self.manifest;
        json!({
            "id": manifest.name, "object": "model", "created": manifest.created,
            "owned_by": "openledger", "model_id": manifest.model_id,
            "base_hash": manifest.base_hash, "adapter_hash": manifest.runs.first().copied().flatten(),
            "contributors": manifest.players.len(), "players": self.design.players(),
            "opening": self.opening.as_ref().map(|opening| opening.index), "records": self.records.records().len(),
            "fidelity": self.fidelity(),
        })
    }

    /// The certificate as it is shown wherever shares are; `null` without one.
    pub fn fidelity(&self) -> Value {
        let shown = |certificate: &Certificate| {
            json!({
                "lds_ppm": certificate.lds_ppm, "low_ppm": certificate.low_ppm,
                "high_ppm": certificate.high_ppm, "subsets": certificate.subsets.len(),
                "answers": certificate.answers, "hash": certificate.hash(),
            })
        };
        self.certificate.as_ref().map_or(Value::Null, shown)
    }
}

/// The Datanet version that the model of a receipt was trained on, and its certificate if it has one, if a
/// model with these adapters is in the folder `data_dir` of a node.
pub fn training_records(
    adapters: &[Option<B256>],
    data_dir: &Path,
) -> Result<Option<(Version, Option<Certificate>)>, Error> {
    for folder in PublishedModel::folders(&data_dir.join("models"))? {
        let manifest = ModelManifest::read(&folder)?;
        if manifest.is_some_and(|manifest| manifest.runs == adapters) {
            let records = load_version(&records_folder(&folder))?;
            return Ok(Some((records, read_certificate(&folder)?)));
        }
    }
    Ok(None)
}
