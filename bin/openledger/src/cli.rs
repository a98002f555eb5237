use std::{net::SocketAddr, path::PathBuf, str::FromStr};

use clap::{Args, Parser, Subcommand};

use crate::{node::NodeSettings, serve_device::DeviceChoice};

/// OpenLedger: every answer of a model pays the people whose data produced it.
#[derive(Debug, Parser)]
#[command(name = "openledger", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// One JSON document on stdout instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// More log lines on stderr; repeat for more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The whole life of a payment on this machine, from records to paid wallets.
    Demo(DemoArgs),
    /// Node and gateway on this machine, until Ctrl-C; continues where it was.
    Up(UpArgs),
    /// Help with the trainings of a node that runs on the same data folder, until no run is left.
    Worker(WorkerArgs),
    /// A base and all its adapters behind the OpenAI API, without a chain, until Ctrl-C.
    Serve(ServeArgs),
    /// Adapters in the form that `serve` maps instead of reading.
    #[command(subcommand)]
    Adapter(AdapterCommand),
    /// The chain alone, until Ctrl-C or SIGTERM; continues where it was.
    Node(Box<NodeArgs>),
    /// Check what others claim.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Who was paid for an answer, and why.
    #[command(subcommand)]
    Attribution(AttributionCommand),
    /// Measure, and print what was measured.
    #[command(subcommand)]
    Bench(BenchCommand),
}

/// What is served, and with how much.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Base model: a folder in Hugging Face layout, or `org/name[@revision]`, which is fetched into the cache
    /// of Hugging Face's tools unless it is there.
    #[arg(long, value_name = "DIR|NAME")]
    pub base: String,
    /// An adapter and what it is called: `NAME=` before a PEFT folder, a packed file, or `org/name[@revision]`.
    #[arg(long, value_name = "NAME=PLACE")]
    pub adapter: Vec<NamedAdapter>,
    /// Folder whose subfolders are PEFT adapters, and whose files `<name>.adapter` packed ones, called by their
    /// names. Folders and files deeper below it can be loaded through the API.
    #[arg(long, value_name = "DIR")]
    pub adapters: Option<PathBuf>,
    /// What the base is called in requests; the name of its folder by default.
    #[arg(long)]
    pub name: Option<String>,
    /// Address of the API.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    pub api_addr: SocketAddr,
    /// Key that requests must carry as `Authorization: Bearer`; none is needed by default.
    #[arg(long, env = "OPENLEDGER_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Where answers are computed: `auto` (a CUDA device if there is one with enough memory), `cpu`, `cuda`,
    /// `cuda:1`.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// How matrices are kept. A base that is stored in bf16 loses nothing in bf16.
    #[arg(long, value_enum, default_value_t = MatrixForm::Bf16)]
    pub weights: MatrixForm,
    /// How keys and values are kept.
    #[arg(long, value_enum, default_value_t = KeysAndValues::Bf16)]
    pub kv: KeysAndValues,
    /// How adapters are kept in memory: bf16 loses nothing, int8 takes half.
    #[arg(long, value_enum, default_value_t = AdapterForm::Bf16)]
    pub adapter_form: AdapterForm,
    /// Memory for keys, values and adapters together, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub memory_mib: usize,
    /// Memory, beside that, for a copy of the matrices with one adapter merged in while nearly all answers are
    /// for that adapter, in MiB; 0 makes none. Such answers are rounded otherwise, so that the same request may
    /// get other words before and after.
    #[arg(long, value_name = "MIB", default_value_t = 0)]
    pub merged_mib: usize,
    /// Answers generated at the same time.
    #[arg(long, default_value_t = 64)]
    pub batch: usize,
    /// Answers that wait for a place; one more is refused.
    #[arg(long, default_value_t = 256)]
    pub queue: usize,
    /// Tokens that one step reads at most, prompts included: more reads prompts faster, less delays the other
    /// answers less.
    #[arg(long, default_value_t = 256)]
    pub step_tokens: usize,
    /// Models whose cached prompts all tenants profit from, by name, or `*` for all: tenants can then tell from
    /// the time to the first token what others have asked. None by default.
    #[arg(long, value_name = "MODELS", value_delimiter = ',')]
    pub shared_prefixes: Vec<String>,
    /// Seconds without an answer under way after which cached prompts are forgotten and the memory of keys and
    /// values is given back to the system.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub idle_seconds: u64,
    /// Threads; all cores by default. The answers are the same for any number.
    #[arg(long)]
    pub threads: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub enum AdapterCommand {
    /// Write an adapter for a base into one file, named by its content.
    Pack(PackArgs),
    /// Check such a file, and say what is in it.
    Show(ShowAdapterArgs),
}

#[derive(Debug, Args)]
pub struct PackArgs {
    /// PEFT folder, or `org/name[@revision]`.
    #[arg(value_name = "DIR|NAME")]
    pub adapter: String,
    /// The base it was trained on: a folder, or `org/name[@revision]`.
    #[arg(long, value_name = "DIR|NAME")]
    pub base: String,
    /// How its numbers are kept: bf16 loses nothing, int8 takes half.
    #[arg(long, value_enum, default_value_t = AdapterForm::Bf16)]
    pub form: AdapterForm,
    /// Folder for the file; created if absent.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    /// What the file, and with it the adapter in requests, is called instead of its hash.
    #[arg(long)]
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub struct ShowAdapterArgs {
    /// The file.
    pub file: PathBuf,
    /// Fail unless it was packed for this base: a folder, or `org/name[@revision]`.
    #[arg(long, value_name = "DIR|NAME")]
    pub base: Option<String>,
}

/// `NAME=PLACE`.
#[derive(Debug, Clone)]
pub struct NamedAdapter {
    /// What it is called in requests.
    pub name: String,
    /// A folder, a file, or `org/name[@revision]`.
    pub place: String,
}

impl FromStr for NamedAdapter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, place) = text
            .split_once('=')
            .filter(|(name, place)| !name.is_empty() && !place.is_empty())
            .ok_or("write NAME=PLACE: what it is called, and where it is")?;
        Ok(Self { name: name.to_owned(), place: place.to_owned() })
    }
}

/// How the matrices of a served base are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum MatrixForm {
    /// 32 bits: the bits of the exact path.
    F32,
    /// 16 bits.
    Bf16,
    /// 8 bits, activations too.
    Int8,
    /// 4 bits in groups.
    FourBit,
}

/// How adapters are kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum AdapterForm {
    /// 16 bits, as they are stored.
    Bf16,
    /// 8 bits.
    Int8,
}

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum KeysAndValues {
    /// 32 bits: the bits of the exact path.
    F32,
    /// 16 bits.
    Bf16,
    /// 8 bits.
    Int8,
}

/// Where training records come from, and what their fields are called.
#[derive(Debug, Clone, Args)]
pub struct RecordsArgs {
    /// JSONL file of records; the handbook about OpenLedger by default.
    #[arg(long, value_name = "FILE")]
    pub records: Option<PathBuf>,
    /// Field that holds the prompt.
    #[arg(long, value_name = "P", default_value = "prompt")]
    pub prompt_field: String,
    /// Field that holds the completion.
    #[arg(long, value_name = "C", default_value = "completion")]
    pub completion_field: String,
    /// Field that names the contributor, or holds a wallet.
    #[arg(long, value_name = "K", default_value = "contributor")]
    pub contributor_field: String,
}

/// How the model is trained.
#[derive(Debug, Clone, Args)]
pub struct TrainArgs {
    /// Base model: a folder in Hugging Face layout, or `org/name[@revision]`, which is fetched as `serve` does;
    /// the built-in nano by default.
    #[arg(long, value_name = "DIR|NAME")]
    pub base: Option<String>,
    /// Training steps; chosen from the number of records by default.
    #[arg(long)]
    pub steps: Option<u32>,
    /// Runs of the design at most, the published adapter and the base among them: more find smaller
    /// effects. As few as the contributors allow by default.
    #[arg(long)]
    pub runs: Option<usize>,
    /// Players of the design at most, 1 to 63; more contributors than that are grouped.
    #[arg(long, default_value_t = openledger_attribution::PLAYERS_MAX,
        value_parser = clap::value_parser!(u8).range(1..=63))]
    pub players: u8,
    /// Train this many subsets of contributors that the design leaves out, and certify on the chain how
    /// well the measured effects predicted them.
    #[arg(long, value_name = "SUBSETS")]
    pub certify: Option<usize>,
    /// Threads for training and scoring; all cores by default. The result is the same for any number.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Counterfactual adapters trained at once, each on its part of the threads; as many as threads by
    /// default. The result is the same for any number.
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    #[command(flatten)]
    pub records: RecordsArgs,
    #[command(flatten)]
    pub train: TrainArgs,
    /// Question to ask; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub ask: Vec<String>,
    /// Keep everything in this folder instead of a temporary one.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where the receipt of the first answer is written.
    #[arg(long, value_name = "FILE", default_value = "receipt.json")]
    pub receipt: PathBuf,
}

#[derive(Debug, Args)]
pub struct UpArgs {
    /// What the first start trains a model on.
    #[command(flatten)]
    pub records: RecordsArgs,
    #[command(flatten)]
    pub train: TrainArgs,
    /// Where the chain, the models and the keys are kept.
    #[arg(long, value_name = "DIR", default_value = "openledger-data")]
    pub data_dir: PathBuf,
    /// JSON-RPC of the chain, HTTP and WebSocket.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8545")]
    pub rpc_addr: SocketAddr,
    /// API of the gateway.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub api_addr: SocketAddr,
}

#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// Data folder of the node that leads the trainings.
    #[arg(long, value_name = "DIR", default_value = "openledger-data")]
    pub data_dir: PathBuf,
    /// Threads; all cores by default.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Runs trained at once, each on its part of the threads; as many as threads by default.
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct NodeArgs {
    #[command(subcommand)]
    pub command: Option<NodeCommand>,
    /// TOML file of settings; flags and environment variables win over it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the settings that hold, as such a file, and end.
    #[arg(long)]
    pub print_config: bool,
    #[command(flatten)]
    pub settings: NodeSettings,
}

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Write the chain's genesis.json (geth) and rollup.json (op-node).
    ExportGenesis(ExportGenesisArgs),
}

#[derive(Debug, Args)]
pub struct ExportGenesisArgs {
    /// Folder for both files; created if absent.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The chain in this data directory.
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with = "genesis",
        required_unless_present = "genesis"
    )]
    pub data_dir: Option<PathBuf>,
    /// The chain that this genesis begins, which must state its time.
    #[arg(long, value_name = "FILE")]
    pub genesis: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Re-derive every number of a receipt; fails and names the step if one does not hold.
    Verify(VerifyArgs),
    /// Train segments of a model's runs again; fails if one does not end in the recorded state.
    Retrain(RetrainArgs),
    /// Compare a model's fidelity certificate with the chain; fails if it was drawn with another seed.
    Certificate(CertificateArgs),
}

#[derive(Debug, Args)]
pub struct CertificateArgs {
    /// Data folder of a node that holds the model.
    #[arg(long, value_name = "DIR", default_value = "openledger-data")]
    pub data_dir: PathBuf,
    /// Name of the model.
    #[arg(long, value_name = "NAME")]
    pub model: String,
    /// The chain on which the model is registered.
    #[arg(long, value_name = "URL")]
    pub rpc: String,
    /// Also train the held-out subsets again: every number of the certificate must come out.
    #[arg(long)]
    pub retrain: bool,
    /// Threads for training; all cores by default. The result is the same for any number.
    #[arg(long)]
    pub threads: Option<usize>,
}

#[derive(Debug, Args)]
pub struct RetrainArgs {
    /// Data folder of a node that holds the model.
    #[arg(long, value_name = "DIR", default_value = "openledger-data")]
    pub data_dir: PathBuf,
    /// Name of the model.
    #[arg(long, value_name = "NAME")]
    pub model: String,
    /// Run of the design: 0 is the published adapter, the others are counterfactual.
    #[arg(long, default_value_t = 0)]
    pub run: usize,
    /// Segment of the run, from 1; every one by default.
    #[arg(long)]
    pub segment: Option<usize>,
    /// Threads for training; all cores by default. The result is the same for any number.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Also check that this chain holds the traces' root.
    #[arg(long, value_name = "URL")]
    pub rpc: Option<String>,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Receipt document, as the gateway serves it.
    pub file: PathBuf,
    /// Also check against this chain: the settlement, the model, the Datanet versions.
    #[arg(long, value_name = "URL")]
    pub rpc: Option<String>,
    /// Also recompute the likelihoods with the model in this data folder.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The only operator whose signature is accepted.
    #[arg(long, value_name = "ADDRESS")]
    pub operator: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum AttributionCommand {
    /// Explain the shares of a receipt: effects, repeated text, records that resemble the answer.
    Show(ShowArgs),
    /// Train a design over the members of the groups that earned most, so that they are measured.
    Open(OpenArgs),
}

#[derive(Debug, Args)]
pub struct OpenArgs {
    /// Data folder of the node that holds the model; the node must not be running.
    #[arg(long, value_name = "DIR", default_value = "openledger-data")]
    pub data_dir: PathBuf,
    /// Name of the model.
    #[arg(long, value_name = "NAME")]
    pub model: String,
    /// Base model: a folder, or `org/name[@revision]`; the built-in nano by default.
    #[arg(long, value_name = "DIR|NAME")]
    pub base: Option<String>,
    /// Players of the new design at most, 1 to 63: as many groups are opened as have room.
    #[arg(long, default_value_t = openledger_attribution::PLAYERS_MAX,
        value_parser = clap::value_parser!(u8).range(1..=63))]
    pub players: u8,
    /// Runs of the new design at most; as few as the players allow by default.
    #[arg(long)]
    pub runs: Option<usize>,
    /// Threads for training; all cores by default.
    #[arg(long)]
    pub threads: Option<usize>,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Receipt document, as the gateway serves it.
    pub file: PathBuf,
    /// Also look for records that resemble the answer, in the model of this data folder.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Ask questions taken verbatim from training records; count how often their contributor is
    /// paid most.
    Attribution(BenchAttributionArgs),
    /// Start a server with many adapters; find its capacity, then offer it multiples of that.
    Serve(BenchServeArgs),
}

/// The server and the load. Everything stays on this machine.
#[derive(Debug, Args)]
pub struct BenchServeArgs {
    /// Base model: a folder, or `org/name[@revision]`; the built-in nano by default.
    #[arg(long, value_name = "DIR|NAME")]
    pub base: Option<String>,
    /// Random adapters that requests go to in turn; with 0 all go to the base.
    #[arg(long, default_value_t = 64)]
    pub adapters: usize,
    /// Their rank.
    #[arg(long, default_value_t = 8)]
    pub rank: usize,
    /// Tokens of an answer.
    #[arg(long, default_value_t = 32)]
    pub tokens: u32,
    /// Clients of the closed loop.
    #[arg(long, default_value_t = 48)]
    pub clients: usize,
    /// Length of one load in one round.
    #[arg(long, default_value_t = 6)]
    pub seconds: u64,
    /// Times that the closed loop and then every factor are run; the table gives medians. What a load is compared
    /// with is of its own round, for a machine's speed changes within minutes.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Multiples of the capacity that are offered.
    #[arg(long, value_delimiter = ',', default_values_t = [1.0, 2.0, 5.0, 10.0])]
    pub factors: Vec<f64>,
    /// Answers generated at the same time.
    #[arg(long, default_value_t = 32)]
    pub batch: usize,
    /// Answers that wait for a place.
    #[arg(long, default_value_t = 64)]
    pub queue: usize,
    /// Memory for keys, values and adapters together, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    pub memory_mib: usize,
}

#[derive(Debug, Args)]
pub struct BenchAttributionArgs {
    #[command(flatten)]
    pub records: RecordsArgs,
    #[command(flatten)]
    pub train: TrainArgs,
    /// How many questions are asked.
    #[arg(long, default_value_t = 10)]
    pub tries: usize,
}
