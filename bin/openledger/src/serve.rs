use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use openledger_gateway::{ModelServer, ModelServerParts, SharedPrefixes, bind, serve_models};
use openledger_hub::{Content, HubName};
use openledger_model::{ChatTemplate, Decoder, Tokenizer, Weights, serving::LowRankForm};
use openledger_openlora::{Config, Engine, Grammars, ServingLoader};
use serde_json::json;

use crate::{
    cli::{AdapterForm, ServeArgs},
    failure::{Exit, Failure, OrFail},
    from_hub,
    local::gateway_failure,
    output::{Output, print, tell},
    serve_device::{self, Placed},
    signals::StopSignal,
};

/// `openledger serve`.
pub async fn run(args: ServeArgs, output: Output) -> Result<(), Failure> {
    let mut stop = StopSignal::listen()?;
    // Bound before anything is loaded, so that a port in use costs nothing.
    let listener = bind(args.api_addr).await.map_err(gateway_failure)?;
    let address = listener.local_addr().or_fail(Exit::Failure, "the API has no address")?;
    let (base, adapters) = tokio::select! {
        places = places(&args) => places?,
        // What came of a download is kept.
        () = stop.received() => return Ok(()),
    };
    let server = server(&args, &base, &adapters)?;
    let api = format!("http://{address}/v1");
    announce(&api, &args, &server, output);
    let stopped = async move { stop.received().await };
    serve_models(listener, server, stopped).await.map_err(gateway_failure)
}

/// The folder of the base, and where each adapter of the command line is. What has a name is fetched.
async fn places(args: &ServeArgs) -> Result<(PathBuf, Vec<(String, PathBuf)>), Failure> {
    let base = from_hub::folder(&args.base, Content::Base).await?;
    let mut adapters = Vec::new();
    for named in &args.adapter {
        adapters.push((named.name.clone(), adapter_place(&named.place).await?));
    }
    Ok((base, adapters))
}

/// Where an adapter is read from: a packed file, a folder, or one of the Hub.
async fn adapter_place(place: &str) -> Result<PathBuf, Failure> {
    if Path::new(place).is_file() {
        return Ok(PathBuf::from(place));
    }
    from_hub::folder(place, Content::Adapter).await
}

fn server(
    args: &ServeArgs,
    folder: &Path,
    named: &[(String, PathBuf)],
) -> Result<Arc<ModelServer>, Failure> {
    let cannot = |what: &str| format!("cannot load the {what} in {}", folder.display());
    let (config, weights) = Weights::load(folder).or_fail(Exit::Failure, cannot("base model"))?;
    let placed = serve_device::place(args, &config, &weights)?;
    let base = Arc::new(Decoder::new(config, weights, false));
    let tokenizer = Tokenizer::from_file(&folder.join("tokenizer.json"))
        .or_fail(Exit::Failure, cannot("tokenizer"))?;
    let template =
        ChatTemplate::from_dir(folder).or_fail(Exit::Failure, cannot("chat template"))?;
    let end = template.end_of_turn(&tokenizer).or_fail(Exit::Failure, cannot("chat template"))?;
    let grammars = Grammars::new(&tokenizer, end).or_fail(Exit::Failure, cannot("tokenizer"))?;
    let settings = Config {
        memory_bytes: args.memory_mib << 20,
        merged_bytes: args.merged_mib << 20,
        adapter_form: match args.adapter_form {
            AdapterForm::Bf16 => LowRankForm::Bf16,
            AdapterForm::Int8 => LowRankForm::Int8,
        },
        threads: args.threads,
        idle_after: Duration::from_secs(args.idle_seconds),
        queue_max: args.queue,
        batch_max: args.batch,
        step_tokens_max: args.step_tokens.max(args.batch),
        ..Config::default()
    };
    let engine = match placed {
        Placed::Device(decoder) => {
            let loader = ServingLoader::new(Arc::clone(&base), settings.adapter_form);
            Engine::start_with(Arc::clone(&base), decoder, loader, settings)
        }
        Placed::Processor(decoder) => Engine::start(Arc::clone(&base), decoder, settings),
    }
    .or_fail(Exit::Failure, "the engine cannot start with these settings")?;
    if let Some(adapters) = &args.adapters {
        let found = engine.register_all(adapters).or_fail(
            Exit::Failure,
            format!("cannot read the adapter folder {}", adapters.display()),
        )?;
        tell(&format!(
            "{found} adapters in {}, read when they are first asked for",
            adapters.display()
        ));
    }
    for (name, place) in named {
        let cannot = format!("cannot offer the adapter {name} in {}", place.display());
        engine.register_folder(name, place).or_fail(Exit::Failure, cannot)?;
    }
    Ok(Arc::new(ModelServer::new(ModelServerParts {
        engine,
        base,
        tokenizer: Arc::new(tokenizer),
        template: Arc::new(template),
        grammars,
        name: name(args),
        adapters_dir: args.adapters.clone(),
        api_key: args.api_key.clone(),
        shared_prefixes: match args.shared_prefixes.iter().any(|name| name == "*") {
            true => SharedPrefixes::OfAll,
            false => SharedPrefixes::Of(args.shared_prefixes.clone()),
        },
        started_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
    })))
}

/// The name of its folder, or of its repository without organisation and revision.
fn name(args: &ServeArgs) -> String {
    let repository = HubName::parse(&args.base).filter(|_| !Path::new(&args.base).is_dir());
    let place = repository.map_or_else(|| args.base.clone(), |name| name.repository);
    let folder = Path::new(&place).file_name();
    let named = || folder.map_or_else(|| args.base.clone(), |name| name.display().to_string());
    args.name.clone().unwrap_or_else(named)
}

fn announce(api: &str, args: &ServeArgs, server: &ModelServer, output: Output) {
    let (name, adapters) = (name(args), server.adapters_registered());
    if output.json {
        return print(
            &json!({ "api_url": api, "model": name, "adapters_registered": adapters }).to_string(),
        );
    }
    print(&format!("Serving   {name} and {adapters} adapters"));
    print(&format!("API       {api}"));
    print("\nAsk:\n");
    print(&format!(
        "curl {api}/chat/completions -H 'Content-Type: application/json' \\\n  -d '{{\"model\": \
         \"{name}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'\n"
    ));
    print("Ctrl-C stops; answers under way are finished.");
}
