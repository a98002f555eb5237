use std::path::Path;

use serde_json::json;

use crate::{
    cli::UpArgs,
    contribution::{self, Source},
    failure::{Exit, Failure},
    local::{Local, LocalConfig},
    output::{Output, print, tell},
    signals::StopSignal,
    terminal::Terminal,
    training,
};

/// `openledger up`.
pub async fn run(args: UpArgs, output: Output) -> Result<(), Failure> {
    let mut stop = StopSignal::listen()?;
    let config = LocalConfig {
        data_dir: &args.data_dir,
        base: args.train.base.as_deref(),
        rpc_addr: args.rpc_addr,
        api_addr: args.api_addr,
    };
    let ready = tokio::select! {
        ready = config.ready() => ready?,
        () = stop.received() => return Ok(()),
    };
    let local = Local::start(ready).await?;
    let outcome = tokio::select! {
        outcome = serve(&args, &local, output) => outcome,
        () = stop.received() => Ok(()),
    };
    tell("stopping; everything is kept");
    local.stop().await?;
    outcome
}

/// Makes sure that there is a model, says where everything is, waits.
async fn serve(args: &UpArgs, local: &Local, output: Output) -> Result<(), Failure> {
    let mut models = local.load_models()?;
    if models.is_empty() {
        let source = Source::of(&args.records)?;
        tell(&format!("first start: training the model \"{}\"; later starts load it", source.name));
        let contributed = contribution::contribute(local, &source).await?;
        let terminal = Terminal::detect(output.json);
        contributed.warnings.iter().for_each(|warning| tell(warning));
        training::train_and_publish(local, &source.name, &contributed, &args.train, terminal)
            .await?;
        models = vec![source.name];
    }
    announce(&args.data_dir, local, &models, output);
    match local.node_stopped().await {
        Ok(()) => Ok(()),
        Err(error) => Err(Failure::new(Exit::Chain, "the node stopped").cause(error)),
    }
}

fn announce(data_dir: &Path, local: &Local, models: &[String], output: Output) {
    let (api, rpc) = (&local.api_url, local.node.rpc_url());
    if output.json {
        return print(
            &json!({
                "chain_id": local.node.chain_id(), "rpc_url": rpc, "ws_url": local.node.ws_url(),
                "api_url": format!("{api}/v1"), "models": models, "block": local.node.head().number,
                "api_key_file": data_dir.join("dev-key"),
            })
            .to_string(),
        );
    }
    let key = data_dir.join("dev-key");
    print("OpenLedger is up\n");
    print(&format!("Chain     id {}, block {}", local.node.chain_id(), local.node.head().number));
    print(&format!("RPC       {rpc}   {}", local.node.ws_url()));
    print(&format!("API       {api}/v1"));
    print(&format!("Models    {}", models.join(", ")));
    print(&format!("Key       {} (prepaid by the development payer)", key.display()));
    print("\nAsk:\n");
    print(&format!(
        "curl {api}/v1/chat/completions \\\n  -H \"Authorization: Bearer $(cat {})\" \\\n  \
         -H 'Content-Type: application/json' \\\n  -d '{{\"model\": \"{}\", \"messages\": \
         [{{\"role\": \"user\", \"content\": \"What does the commons pool hold?\"}}]}}'\n",
        key.display(),
        models[0]
    ));
    print("Ctrl-C stops; the next start continues here.");
}
