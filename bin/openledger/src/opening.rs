use openledger_gateway::{
    OpeningManifest, OpeningPublication, PublishedModel, earnings, open_groups, opening_folder,
    publish_opening, train_opening,
};
use serde_json::json;

use crate::{
    cli::OpenArgs,
    failure::{Exit, Failure},
    local::{Local, LocalConfig, gateway_failure},
    output::{Output, print},
    terminal::Terminal,
    training::{Background, Plan, all_cores, design_for},
};

/// `openledger attribution open`.
pub async fn run(args: OpenArgs, output: Output) -> Result<(), Failure> {
    let config = LocalConfig::on_free_ports(&args.data_dir, args.base.as_deref());
    let local = Local::start(config.ready().await?).await?;
    let outcome = open(&args, &local, output).await;
    local.stop().await?;
    outcome
}

async fn open(args: &OpenArgs, local: &Local, output: Output) -> Result<(), Failure> {
    let known = local.load_models()?.join(", ");
    let model = local.gateway.model(&args.model).ok_or_else(|| {
        let error = format!("no model {:?} in {}", args.model, args.data_dir.display());
        Failure::new(Exit::NotFound, error).hint(format!("it holds {known}"))
    })?;
    let manifest = &model.manifest;
    let earned = earnings(&local.store, &model).await.map_err(gateway_failure)?;
    let opened = open_groups(
        &model.records,
        &manifest.players,
        &manifest.grouping,
        &earned,
        args.players.into(),
        (&local.tokenizer, &local.template),
    );
    let nothing = || {
        Failure::new(Exit::NotFound, "there is no group to open")
            .cause("no group of several contributors was paid since the last opening")
            .hint("where everybody plays alone everything is measured already")
    };
    let grouping = opened.map_err(gateway_failure)?.ok_or_else(nothing)?;
    if model.opening.as_ref().is_some_and(|known| known.grouping == grouping) {
        let error = "the groups that earned most are open already";
        return Err(Failure::new(Exit::Conflict, error));
    }
    let index = model.opening.as_ref().map_or(0, |opening| opening.index + 1);
    let folder = local.models_dir().join(&args.model);
    let threads = args.threads.unwrap_or_else(all_cores);
    let plan = Plan {
        recipe: manifest.recipe.clone(),
        design: design_for(args.runs, grouping.groups().len())?,
        grouping,
        threads,
        workers: threads,
        folder: opening_folder(&folder, index),
    };
    let version = &model.records;
    let background = Background { local, version, players: &manifest.players, plan: &plan };
    let terminal = Terminal::detect(output.json);
    let trained =
        background.train(&args.model, &manifest.datanets[0], train_opening, terminal).await?;
    let publication = OpeningPublication {
        model: &folder,
        manifest,
        owner: local.signers.builder.address(),
        grouping: &plan.grouping,
        trained: &trained.model,
        index,
    };
    let opening = publish_opening(&local.ledger, &trained.announcement, &publication).await;
    let opening = opening.map_err(gateway_failure)?;
    local.load_model(&folder)?;
    report(&model, &opening, &earned, output);
    Ok(())
}

fn report(model: &PublishedModel, opening: &OpeningManifest, earned: &[u128], output: Output) {
    let name =
        |contributor: &u32| model.manifest.players[*contributor as usize].contributor.clone();
    let groups: Vec<Vec<String>> =
        opening.grouping.groups().iter().map(|group| group.iter().map(name).collect()).collect();
    if output.json {
        let earned: Vec<String> = earned.iter().map(u128::to_string).collect();
        return print(
            &json!({
                "model": model.manifest.name, "opening": opening.index, "job_id": opening.job_id,
                "players": groups, "fixed": opening.grouping.fixed().len(), "earned_wei": earned,
            })
            .to_string(),
        );
    }
    print(&format!(
        "opening {} of {:?}: {} players, {} contributors in every run, {} adapters, job {}",
        opening.index,
        model.manifest.name,
        groups.len(),
        opening.grouping.fixed().len(),
        opening.runs.iter().flatten().count() - 1,
        opening.job_id,
    ));
    for group in groups {
        print(&format!("  {}", group.join(", ")));
    }
}
