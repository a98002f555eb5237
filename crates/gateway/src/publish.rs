use std::{fs, path::Path};

use openledger_attribution::{Design, Grouping};
use openledger_datanet::{Version, save_version};
use openledger_factory::{Recipe, Trained};
use openledger_model::{Adapter, Decoder};
use openledger_primitives::{Address, B256, Price};

use crate::{
    Error, Ledger, ModelManifest, PublishedModel, TrainedModel,
    contributors::players_hash,
    document::{DatanetEvidence, Player, recipe_root},
    ledger::{Included, Registration, TrainingTerms},
    opening::opening_folder,
    published_model::{design_root, recipe_hash, records_folder, run_folder, states_folder},
    retrain::{states_of, trace_root},
    work_folder::WorkFolder,
};

/// A Datanet version that is committed on chain.
#[derive(Debug, Clone)]
pub struct Contributed {
    /// Where it is committed.
    pub datanet: DatanetEvidence,
    /// Its contributors, in the order of their first record; a design may group them.
    pub players: Vec<Player>,
    /// Transaction and block of the commitment.
    pub included: Included,
}

/// Creates a Datanet and commits its first version, unless an interrupted run has done so already.
pub async fn contribute(
    ledger: &Ledger,
    curator: Address,
    name: &str,
    uri: &str,
    version: &Version,
) -> Result<Contributed, Error> {
    let players = players(version)?;
    let licence = version.licence().to_string();
    let (datanet_id, number, included) =
        match ledger.find_version(curator, name, version.root()).await? {
            Some(committed) => committed,
            None => {
                let id = ledger.create_datanet(curator, name, &licence, uri).await?;
                let (number, included) = ledger.commit_version(curator, id, version).await?;
                (id, number, included)
            }
        };
    let datanet = DatanetEvidence { datanet_id, version: number, root: version.root() };
    Ok(Contributed { datanet, players, included })
}

/// Contributors of one version, at most: `DatanetRegistry.MAX_CONTRIBUTORS`, and so many payees a receipt
/// may have.
pub const CONTRIBUTORS_MAX: usize = 256;

/// The contributors of a version, in the order of their first record.
///
/// Errors: [`Error::TooManyContributors`] beyond [`CONTRIBUTORS_MAX`].
pub fn players(version: &Version) -> Result<Vec<Player>, Error> {
    let contributions = version.contributions();
    let max = CONTRIBUTORS_MAX;
    if contributions.len() > max {
        return Err(Error::TooManyContributors { found: contributions.len(), max });
    }
    contributions
        .iter()
        .map(|part| {
            let wallet = part.contributor.wallet().ok_or_else(|| {
                Error::Corrupt(format!("contributor {} has no wallet", part.contributor))
            })?;
            let label = part.label.clone().unwrap_or_else(|| wallet.to_string());
            Ok(Player { contributor: label.to_string(), wallet })
        })
        .collect()
}

/// A trained model on its way to the chain.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// Name to register.
    pub name: &'a str,
    /// Who gets the model's token and its part of every fee.
    pub builder: Address,
    /// Price.
    pub price: Price,
    /// Hash of the base.
    pub base: &'a Decoder,
    /// How it was trained.
    pub recipe: &'a Recipe,
    /// Who stands behind each player of the design.
    pub grouping: &'a Grouping,
    /// The training that was announced for it; 0 for none.
    pub job_id: u64,
    /// The adapters.
    pub trained: &'a TrainedModel,
    /// The Datanet version.
    pub contributed: &'a Contributed,
    /// Its records.
    pub version: &'a Version,
}

/// Registers a model and keeps it: adapters and records first, then the chain, then the manifest, so that
/// a folder with a manifest is a model that is registered and complete. A model that an interrupted run
/// has registered is recognised by its hashes: training gives the same bits again.
///
/// Errors: [`Error::NameTaken`] before anything is written.
pub async fn publish(
    ledger: &Ledger,
    models: &Path,
    publication: &Publication<'_>,
) -> Result<ModelManifest, Error> {
    let folder = models.join(publication.name);
    let hashes: Vec<Option<B256>> = publication
        .trained
        .runs
        .iter()
        .map(|run| run.as_ref().map(|run| run.adapter.hash().into()))
        .collect();
    let registered = ledger.model_by_name(publication.name).await?;
    if let Some(id) = registered
        && ledger.model(id).await?.designRoot != design_root(&hashes)
    {
        return Err(Error::NameTaken(publication.name.to_owned()));
    }
    let runs = save_runs(&folder, publication.trained)?;
    save_version(publication.version, &records_folder(&folder))?;
    let trace = |run: &Option<Trained>| run.as_ref().map(states_of).unwrap_or_default();
    let traces: Vec<Vec<B256>> = publication.trained.runs.iter().map(trace).collect();
    let datanet = &publication.contributed.datanet;
    let registration = Registration {
        name: publication.name.to_owned(),
        base_hash: publication.base.hash().into(),
        adapter_hash: runs[0].unwrap_or_default(),
        recipe_root: plan_root(
            publication.recipe,
            &publication.trained.design,
            publication.grouping,
            &publication.contributed.players,
        ),
        trace_root: trace_root(&traces),
        design_root: design_root(&runs),
        datanets: vec![(datanet.datanet_id, datanet.version)],
        price: publication.price,
        job_id: publication.job_id,
    };
    let model_id = match registered {
        Some(id) => id,
        None => ledger.register_model(publication.builder, &registration).await?,
    };
    let manifest = ModelManifest {
        name: registration.name,
        model_id,
        created: ledger.terms(model_id).await?.issued_at,
        base_hash: registration.base_hash,
        recipe: publication.recipe.clone(),
        traces,
        trace_root: registration.trace_root,
        design: publication.trained.design.reference(),
        runs,
        players: publication.contributed.players.clone(),
        grouping: publication.grouping.clone(),
        datanets: vec![datanet.clone()],
    };
    PublishedModel::save_manifest(&folder, &manifest)?;
    WorkFolder::of(&folder).remove()?;
    Ok(manifest)
}

/// What is announced of a training before it begins.
pub fn training_terms(
    base: &Decoder,
    recipe: &Recipe,
    design: &Design,
    grouping: &Grouping,
    (players, datanet): (&[Player], &DatanetEvidence),
) -> TrainingTerms {
    TrainingTerms {
        base_hash: base.hash().into(),
        recipe_root: plan_root(recipe, design, grouping, players),
        runs: design.run_count(),
        datanet: (datanet.datanet_id, datanet.version),
    }
}

/// Commits to how every run of a model is made: the `recipeRoot` of the registry.
pub(crate) fn plan_root(
    recipe: &Recipe,
    design: &Design,
    grouping: &Grouping,
    players: &[Player],
) -> B256 {
    let players = players_hash(players, grouping.groups());
    recipe_root(recipe_hash(recipe), design.hash(), players)
}

/// Registers the adapters of a model's folder with the engine, after checking their hashes.
pub fn load_adapters(
    folder: &Path,
    model: &PublishedModel,
    base: &Decoder,
    engine: &openledger_openlora::Handle,
) -> Result<(), Error> {
    if B256::from(base.hash()) != model.manifest.base_hash {
        let what = format!("{} was trained on another base", folder.display());
        return Err(Error::Corrupt(what));
    }
    for (run, hash) in model.manifest.runs.iter().enumerate() {
        let Some(hash) = hash else { continue };
        let path = run_folder(folder, run);
        let adapter = Adapter::load(&path, base)?;
        if B256::from(adapter.hash()) != *hash {
            return Err(Error::Corrupt(format!("{} has another hash", path.display())));
        }
        engine.register(adapter);
    }
    if let Some(opening) = &model.opening {
        let folder = opening_folder(folder, opening.index);
        for (run, hash) in opening.runs.iter().enumerate().skip(1) {
            let Some(hash) = hash else { continue };
            let path = run_folder(&folder, run);
            let adapter = Adapter::load(&path, base)?;
            if B256::from(adapter.hash()) != *hash {
                return Err(Error::Corrupt(format!("{} has another hash", path.display())));
            }
            engine.register(adapter);
        }
    }
    Ok(())
}

/// Writes the adapter of each run as a PEFT folder. What an interrupted publication left is replaced.
pub(crate) fn save_runs(folder: &Path, model: &TrainedModel) -> Result<Vec<Option<B256>>, Error> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|error| Error::io("replace", folder, error))?;
    }
    let work = WorkFolder::of(folder);
    let (published, design) = (work.published(), work.design());
    let mut counterfactual = 0;
    let mut hashes = Vec::with_capacity(model.runs.len());
    for (run, trained) in model.runs.iter().enumerate() {
        let Some(trained) = trained else {
            hashes.push(None);
            continue;
        };
        let path = run_folder(folder, run);
        fs::create_dir_all(&path).map_err(|error| Error::io("create", &path, error))?;
        trained.adapter.save(&path, "nano")?;
        let states = states_folder(&path);
        if run == 0 {
            work.states_into(&published, &states)?;
        } else {
            work.states_into(&design.of_run(counterfactual), &states)?;
            counterfactual += 1;
        }
        hashes.push(Some(trained.adapter.hash().into()));
    }
    Ok(hashes)
}
