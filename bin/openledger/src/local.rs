use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use openledger_chain::Config;
use openledger_gateway::{
    DevSigners, Gateway, Ledger, Parts, PublishedModel, Store, Wallets, bind, load_adapters, serve,
    settle_receipts,
};
use openledger_model::{
    ChatTemplate, Decoder, Tokenizer, Weights,
    serving::{KvForm, ServingDecoder, WeightForm},
};
use openledger_openlora::Engine;
use openledger_primitives::OpenAmount;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    chain::{devnet_genesis, start_node},
    failure::{Exit, Failure, OrFail},
    from_hub,
};

/// Prepaid balance that a devnet's payer starts with.
const PREPAID: OpenAmount = OpenAmount::from_wei(100 * OpenAmount::ONE.wei());
/// How long the payer's consent lasts.
const SPENDING_LIMIT_LASTS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Node, gateway and settler in this process, over one data folder.
pub struct Local {
    pub node: openledger_chain::Handle,
    pub gateway: Arc<Gateway>,
    pub ledger: Ledger,
    pub store: Store,
    pub engine: openledger_openlora::Handle,
    pub base: Arc<Decoder>,
    pub tokenizer: Arc<Tokenizer>,
    pub template: Arc<ChatTemplate>,
    pub signers: DevSigners,
    pub api_url: String,
    pub api_key: String,
    pub base_dir: PathBuf,
    data_dir: PathBuf,
    stop: watch::Sender<bool>,
    services: JoinSet<()>,
}

/// What a local set-up is started with.
pub struct LocalConfig<'a> {
    pub data_dir: &'a Path,
    /// The base by path or name; the built-in nano if none is named.
    pub base: Option<&'a str>,
    pub rpc_addr: SocketAddr,
    pub api_addr: SocketAddr,
}

impl<'a> LocalConfig<'a> {
    /// On ports that happen to be free.
    pub fn on_free_ports(data_dir: &'a Path, base: Option<&'a str>) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { data_dir, base, rpc_addr: any, api_addr: any }
    }

    /// Sees that there is what is needed, and fetches the base where it has a name and is not here. May be given
    /// up at any time: what came of a download is kept, and nothing runs yet.
    pub async fn ready(self) -> Result<Ready<'a>, Failure> {
        create_dir(self.data_dir)?;
        // Bound before anything is fetched or started, so that a port in use costs nothing.
        let listener = bind(self.api_addr).await.map_err(gateway_failure)?;
        let base_dir = from_hub::base_or_nano(self.base, self.data_dir).await?;
        Ok(Ready { data_dir: self.data_dir, rpc_addr: self.rpc_addr, listener, base_dir })
    }
}

/// All that a local set-up needs in order to start.
pub struct Ready<'a> {
    data_dir: &'a Path,
    rpc_addr: SocketAddr,
    listener: TcpListener,
    base_dir: PathBuf,
}

impl Local {
    /// Starts everything; what the data folder holds is continued.
    pub async fn start(ready: Ready<'_>) -> Result<Self, Failure> {
        let Ready { data_dir, rpc_addr, listener, base_dir } = ready;
        let address = listener.local_addr().or_fail(Exit::Failure, "the API has no address")?;
        let base = Decoder::load(&base_dir).or_fail(
            Exit::Failure,
            format!("cannot load the base model in {}", base_dir.display()),
        )?;
        let tokenizer = Tokenizer::from_file(&base_dir.join("tokenizer.json"))
            .or_fail(Exit::Failure, "cannot load the base model's tokenizer")?;
        let template = ChatTemplate::from_dir(&base_dir)
            .or_fail(Exit::Failure, "cannot load the base model's chat template")?;
        let (base, tokenizer, template) = (Arc::new(base), Arc::new(tokenizer), Arc::new(template));

        // Any page may use this chain, and only signed transactions change it.
        let config = Config {
            rpc_addr,
            cors_origins: vec!["*".to_owned()],
            ..Config::new(data_dir.join("chain"))
        };
        let node = start_node(config, devnet_genesis()?).await?;
        let signers = DevSigners::derive().map_err(gateway_failure)?;
        let (operator, builder, payer) =
            (signers.operator.clone(), signers.builder.clone(), signers.payer.clone());
        let all = [operator.clone(), builder, payer];
        let ledger = Ledger::connect(&node.rpc_url(), Some(node.chain_id()), all)
            .await
            .map_err(gateway_failure)?;
        let store = Store::open(&data_dir.join("gateway.db")).await.map_err(gateway_failure)?;
        let engine = start_engine(&base, &base_dir)?;
        let gateway = Arc::new(Gateway::new(Parts {
            engine: engine.clone(),
            tokenizer: Arc::clone(&tokenizer),
            template: Arc::clone(&template),
            ledger: ledger.clone(),
            store: store.clone(),
            operator,
            context_tokens: base.config().max_position_embeddings,
        }));

        let (stop, stopped) = watch::channel(false);
        let mut services = JoinSet::new();
        services.spawn(settle_receipts(Arc::clone(&gateway), wait_for(stopped.clone())));
        let api = Arc::clone(&gateway);
        services.spawn(async move {
            if let Err(error) = serve(listener, api, wait_for(stopped)).await {
                tracing::error!(%error, "the API stopped");
            }
        });
        let local = Self {
            node,
            gateway,
            ledger,
            store: store.clone(),
            engine,
            base,
            tokenizer,
            template,
            api_key: api_key(data_dir)?,
            signers,
            api_url: format!("http://{address}"),
            base_dir,
            data_dir: data_dir.to_owned(),
            stop,
            services,
        };
        local.fund_payer(&store).await?;
        Ok(local)
    }

    /// Makes every model in the data folder callable. Returns their names.
    pub fn load_models(&self) -> Result<Vec<String>, Failure> {
        let mut names = Vec::new();
        for folder in PublishedModel::folders(&self.models_dir()).map_err(gateway_failure)? {
            names.push(self.load_model(&folder)?);
        }
        Ok(names)
    }

    /// Makes the model in `folder` callable. Returns its name.
    pub fn load_model(&self, folder: &Path) -> Result<String, Failure> {
        let model = PublishedModel::load(folder, &self.tokenizer, &self.template)
            .map_err(gateway_failure)?;
        load_adapters(folder, &model, &self.base, &self.engine).map_err(gateway_failure)?;
        let name = model.manifest.name.clone();
        self.gateway.add_model(model);
        Ok(name)
    }

    pub fn models_dir(&self) -> PathBuf {
        self.data_dir.join("models")
    }

    /// Wallets of contributors that are known by name.
    pub fn wallets(&self) -> Result<Wallets, Failure> {
        Wallets::open(&self.data_dir.join("wallets.json")).map_err(gateway_failure)
    }

    /// Resolves if the node stops by itself.
    pub async fn node_stopped(&self) -> Result<(), openledger_chain::Error> {
        self.node.stopped().await
    }

    /// Ends requests under way, then the settler, then the node.
    pub async fn stop(mut self) -> Result<(), Failure> {
        self.stop.send_replace(true);
        while self.services.join_next().await.is_some() {}
        self.node.shutdown().await.or_fail(Exit::Chain, "the node did not stop cleanly")
    }

    /// Gives the devnet's payer a balance, a spending limit and a key, if it has none.
    async fn fund_payer(&self, store: &Store) -> Result<(), Failure> {
        let (payer, operator) = (self.signers.payer.address(), self.signers.operator.address());
        let (limit, _) =
            self.ledger.spending_limit(payer, operator).await.map_err(gateway_failure)?;
        if limit == OpenAmount::ZERO {
            self.ledger.deposit(payer, PREPAID).await.map_err(gateway_failure)?;
            let until = SystemTime::now() + SPENDING_LIMIT_LASTS;
            let until = until.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
            self.ledger
                .set_spending_limit(payer, operator, PREPAID, until)
                .await
                .map_err(gateway_failure)?;
        }
        store.add_key(&self.api_key, "development", payer).await.map_err(gateway_failure)
    }
}

/// The exit code and the advice for an error of the gateway.
pub fn gateway_failure(error: openledger_gateway::Error) -> Failure {
    use openledger_gateway::Error;
    let failure = |exit, what: &str| Failure::new(exit, what).cause(&error);
    match &error {
        Error::PortInUse(_) => failure(Exit::Conflict, "the API did not start")
            .hint("stop the other program, or choose another port with --api-addr"),
        Error::Chain { .. } => failure(Exit::Chain, "the chain cannot be reached")
            .hint("is a node running there? `openledger up` starts one"),
        Error::NameTaken(_) => failure(Exit::Conflict, "the model cannot be published")
            .hint("rename the file of records, or choose another folder with --data-dir"),
        Error::WrongChain { .. } => failure(Exit::Chain, "this is another chain"),
        Error::Audit(_) => failure(Exit::Failure, "the audit failed"),
        Error::Reverted { .. } => failure(Exit::Chain, "a transaction was refused"),
        Error::TooManyContributors { .. } | Error::RecordTooLong { .. } => {
            failure(Exit::Usage, "these records cannot be trained on")
        }
        _ => failure(Exit::Failure, "the gateway failed"),
    }
}

/// The engine over `base`, generating in the exact decoder's very bits.
fn start_engine(
    base: &Arc<Decoder>,
    base_dir: &Path,
) -> Result<openledger_openlora::Handle, Failure> {
    let (config, weights) =
        Weights::load(base_dir).or_fail(Exit::Failure, "cannot load the base model's weights")?;
    let serving = ServingDecoder::new(config, weights, WeightForm::F32, KvForm::F32);
    Engine::start(Arc::clone(base), serving, openledger_openlora::Config::default())
        .or_fail(Exit::Failure, "cannot start the serving engine")
}

/// Creates the data folder and makes sure that it can be written to.
fn create_dir(data_dir: &Path) -> Result<(), Failure> {
    let probe = data_dir.join(".writable");
    fs::create_dir_all(data_dir)
        .and_then(|()| fs::write(&probe, b""))
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|cause| {
            Failure::new(Exit::Failure, format!("cannot write to {}", data_dir.display()))
                .cause(cause)
                .hint("choose a folder you own with --data-dir")
        })
}

/// The development key, made at the first start and kept in the data folder.
fn api_key(data_dir: &Path) -> Result<String, Failure> {
    let path = data_dir.join("dev-key");
    let failed = format!("cannot keep the development key in {}", path.display());
    match fs::read_to_string(&path) {
        Ok(key) => Ok(key.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = openledger_gateway::new_api_key();
            fs::write(&path, format!("{key}\n")).or_fail(Exit::Failure, failed)?;
            Ok(key)
        }
        Err(error) => Err(Failure::new(Exit::Failure, failed).cause(error)),
    }
}

async fn wait_for(mut stopped: watch::Receiver<bool>) {
    // An error means the sender is gone, which is a stop as well.
    drop(stopped.wait_for(|stop| *stop).await);
}
