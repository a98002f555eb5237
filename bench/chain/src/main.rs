//! Compares our node with anvil and Hardhat under one load; see `README.md`.
//!
//! Starts each node as a process of its own, on loopback and on a fresh state, sends it the same signed
//! transactions, and prints what came of it. Measures from outside only, through JSON-RPC and what the
//! system says about a process.
//!
//! ```text
//! plan ─▶ nodes ─▶ workload (contracts, signed load) ─▶ drive ─▶ latency ─▶ report
//!                     watch: head, blocks  ◀───────────────┘
//! ```
//!
//! **Invariant:** every node gets the same transactions, in a process that was just started.
//! **Invariant:** only processes that were started here are ended, by their id.
//! **Invariant:** every wait has an end; a node that is stuck is reported as such.

mod accounts;
mod drive;
mod genesis;
mod http;
mod latency;
mod machine;
mod measure;
mod nodes;
mod options;
mod plan;
mod process;
mod profile;
mod report;
mod results_file;
mod rpc;
mod serve;
mod statistics;
mod wait;
mod watch;
mod workload;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Parser;
use eyre::{ContextCompat, Result, WrapErr, ensure};

use genesis::GenesisFiles;
use measure::{Amount, Places, Senders};
use nodes::{Kind, Node};
use options::Options;
use plan::Case;
use report::Row;
use serve::{SERVE, serve};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, data_dir, port, genesis] = arguments.as_slice()
        && first == SERVE
    {
        return serve(data_dir, port, genesis);
    }
    let options = Options::parse();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = scratch_folder()?;
    let nodes = chosen_nodes(&options)?;
    let senders = Senders::new(options.senders);
    let places = Places { peers: here, scratch: &scratch };
    let results = options.results.clone().unwrap_or_else(|| here.join("RESULTS.md"));
    if options.profile {
        let section = profile::profile(&options, &nodes, &senders, &places)?;
        say(&section)?;
        return results_file::put_section(&results, "profile", &section);
    }
    let cases =
        plan::cases(&nodes, &options.workload.workloads(), options.accounts, options.connections);
    let begun = Instant::now();
    // After every repeat, so that a comparison that is cut short leaves what it has.
    let rows = compare(&options, cases, &senders, &places, |rows| {
        if let Some(path) = &options.json {
            let raw: Vec<_> = rows.iter().map(Row::raw).collect();
            fs::write(path, serde_json::to_string_pretty(&raw)?)
                .wrap_err_with(|| format!("cannot write {}", path.display()))?;
        }
        let section = section(&options, &nodes, rows, &places, begun.elapsed());
        for workload in options.workload.workloads() {
            let mut of_it = rows.iter().filter(|row| row.case.workload == workload);
            ensure!(
                of_it.any(|row| row.runs.iter().any(Result::is_ok)),
                "no run of the workload {workload:?} succeeded: the results file is left as it was"
            );
        }
        results_file::put_section(&results, "tables", &section)
    })?;
    say(&section(&options, &nodes, &rows, &places, begun.elapsed()))
}

/// All runs, in turn; `keep` gets what there is after every repeat.
fn compare(
    options: &Options,
    cases: Vec<Case>,
    senders: &Senders,
    places: &Places<'_>,
    keep: impl Fn(&[Row]) -> Result<()>,
) -> Result<Vec<Row>> {
    let files = genesis_files(&cases, senders, places)?;
    let mut rows: Vec<Row> = cases.into_iter().map(|case| Row { case, runs: Vec::new() }).collect();
    for repeat in 1..=options.repeats {
        for row in &mut rows {
            let case = &row.case;
            let what = format!(
                "{repeat}/{}: {}, {:?}, {} residents, {}",
                options.repeats,
                case.node.name,
                case.workload,
                case.residents,
                case.shape.name()
            );
            let amount =
                Amount { txs: case.txs(options.txs), time: Duration::from_secs(options.seconds) };
            let files = files.get(&case.residents).wrap_err("a state was not written")?;
            let run = measure::ready(&case.node, case.workload, files, senders, places).and_then(
                |mut ready| {
                    let latency = case.measures_latency();
                    measure::run(&mut ready, senders, case.shape, amount, latency)
                },
            );
            let told = match &run {
                Ok(run) => format!(
                    "{:.0} TPS, {:.0} µs/tx, {} of {} included, load {:.1}",
                    run.tps, run.node_cpu_us, run.included, run.accepted, run.load_average
                ),
                Err(error) => format!("failed: {error:#}"),
            };
            writeln!(std::io::stderr(), "{what}: {told}")?;
            row.runs.push(run.map_err(|error| format!("{error:#}")));
        }
        keep(&rows)?;
    }
    Ok(rows)
}

fn genesis_files(
    cases: &[Case],
    senders: &Senders,
    places: &Places<'_>,
) -> Result<BTreeMap<u64, GenesisFiles>> {
    let mut files = BTreeMap::new();
    for case in cases {
        if let Entry::Vacant(entry) = files.entry(case.residents) {
            entry.insert(GenesisFiles::write(places.scratch, &senders.all(), case.residents)?);
        }
    }
    Ok(files)
}

fn section(
    options: &Options,
    nodes: &[Node],
    rows: &[Row],
    places: &Places<'_>,
    took: Duration,
) -> String {
    let loads = rows.iter().flat_map(|row| &row.runs).filter_map(|run| run.as_ref().ok());
    let loads = statistics::Spread::of(loads.map(|run| run.load_average));
    let mut out = String::from("## Comparison\n\n");
    let _ = writeln!(out, "- Machine: {}.", machine::describe(places.scratch));
    if let Some(loads) = loads {
        let _ = writeln!(
            out,
            "- Load average before a run: {:.1} ({:.1}–{:.1}).",
            loads.median, loads.min, loads.max
        );
    }
    for node in nodes {
        let _ = writeln!(out, "- {}: {}.", node.name, node.version(places.peers));
    }
    let _ = writeln!(
        out,
        "- {} of {} repeats in turn, {} s of sending or {} transactions, {} senders, {:.0} minutes.\n",
        rows.iter().map(|row| row.runs.len()).max().unwrap_or_default(),
        options.repeats,
        options.seconds,
        options.txs,
        options.senders,
        took.as_secs_f64() / 60.0
    );
    out.push_str(&report::tables(rows));
    out
}

/// Ours, as the options say, then the peers.
fn chosen_nodes(options: &Options) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for given in &options.nodes {
        let (name, command) =
            given.split_once('=').wrap_err("--node takes NAME=COMMAND, such as old=./devnode …")?;
        nodes.push(Node { name: name.to_owned(), kind: Kind::Ours(command.to_owned()) });
    }
    if nodes.is_empty() && !options.without.iter().any(|name| name == "openledger") {
        let program = std::env::current_exe()?;
        let command = format!("{} {SERVE} {{data_dir}} {{port}} {{genesis}}", program.display());
        nodes.push(Node { name: "openledger".to_owned(), kind: Kind::Ours(command) });
    }
    nodes.push(Node { name: "anvil".to_owned(), kind: Kind::Anvil });
    nodes.push(Node { name: "hardhat".to_owned(), kind: Kind::Hardhat });
    nodes.retain(|node| !options.without.contains(&node.name));
    ensure!(!nodes.is_empty(), "--without leaves no node");
    Ok(nodes)
}

/// The folder that this program was built into.
fn target_folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().wrap_err("a program lies in a folder")?.to_owned())
}

/// On the disk of the build folder: a temporary folder may be in memory, where nothing is durable.
fn scratch_folder() -> Result<PathBuf> {
    let folder = target_folder()?.join("bench-chain");
    fs::create_dir_all(&folder).wrap_err_with(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

fn say(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
