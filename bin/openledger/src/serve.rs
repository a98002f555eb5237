use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use openledger_gateway::{ModelServer, ModelServerParts, bind, serve_models};
use openledger_model::{
    ChatTemplate, Decoder, Tokenizer, Weights, hub_cache, model_folder, serving::LowRankForm,
};
use openledger_openlora::{Config, Engine, ServingLoader};
use serde_json::json;

use crate::{
    cli::{AdapterForm, ServeArgs},
    failure::{Exit, Failure, OrFail},
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
    let server = server(&args)?;
    let api = format!("http://{address}/v1");
    announce(&api, &args, &server, output);
    let stopped = async move { stop.received().await };
    serve_models(listener, server, stopped).await.map_err(gateway_failure)
}

fn server(args: &ServeArgs) -> Result<Arc<ModelServer>, Failure> {
    let cache = hub_cache(|name| std::env::var_os(name).map(PathBuf::from));
    let folder = model_folder(&args.base, cache.as_deref())
        .or_fail(Exit::Failure, format!("there is no base model {}", args.base))?;
    let cannot = |what: &str| format!("cannot load the {what} in {}", folder.display());
    let (config, weights) = Weights::load(&folder).or_fail(Exit::Failure, cannot("base model"))?;
    let placed = serve_device::place(args, &config, &weights)?;
    let base = Arc::new(Decoder::new(config, weights, false));
    let tokenizer = Tokenizer::from_file(&folder.join("tokenizer.json"))
        .or_fail(Exit::Failure, cannot("tokenizer"))?;
    let template =
        ChatTemplate::from_dir(&folder).or_fail(Exit::Failure, cannot("chat template"))?;
    let settings = Config {
        memory_bytes: args.memory_mib << 20,
        adapter_form: match args.adapter_form {
            AdapterForm::Bf16 => LowRankForm::Bf16,
            AdapterForm::Int8 => LowRankForm::Int8,
        },
        threads: args.threads,
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
    Ok(Arc::new(ModelServer::new(ModelServerParts {
        engine,
        base,
        tokenizer: Arc::new(tokenizer),
        template: Arc::new(template),
        name: name(args),
        adapters_dir: args.adapters.clone(),
        api_key: args.api_key.clone(),
        started_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
    })))
}

fn name(args: &ServeArgs) -> String {
    let folder = Path::new(&args.base).file_name();
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
