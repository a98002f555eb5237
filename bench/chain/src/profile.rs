//! Where our node's processor time goes: `perf record` during the load, each sample put into the first
//! category that its call chain, read from the innermost function outwards, belongs to.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use eyre::{ContextCompat, Result, WrapErr, ensure};

use crate::{
    drive::Shape,
    genesis::GenesisFiles,
    measure::{self, Amount, Places, Run, Senders},
    nodes::{Kind, Node},
    options::Options,
};

/// Samples per second and processor: not a divisor of anything periodic.
const FREQUENCY: &str = "499";
/// Stack that each sample keeps for unwinding.
const STACK: &str = "dwarf,16384";
/// Functions that a table shows.
const FUNCTIONS_SHOWN: usize = 25;

/// Categories and what their functions' paths begin with or contain, more telling ones first.
const CATEGORIES: &[(&str, &[&str])] = &[
    ("signature recovery", &["secp256k1", "rustsecp256k1", "recover_signer"]),
    ("journal", &["openledger_chain::storage::journal"]),
    ("block log and its encoding", &["openledger_chain::storage"]),
    (
        "state trie and state",
        &["openledger_chain::trie", "openledger_chain::state", "alloy_trie::nodes"],
    ),
    (
        "transaction and receipt roots",
        &[
            "alloy_trie",
            "ordered_trie_root",
            "calculate_receipt_root",
            "calculate_transaction_root",
        ],
    ),
    ("pool", &["openledger_chain::pool", "openledger_chain::chain::Chain::submit"]),
    ("execution", &["revm", "op_revm", "alloy_evm", "alloy_op_evm", "openledger_chain::execution"]),
    (
        "decoding: RLP and hex",
        &[
            "alloy_rlp",
            "const_hex",
            "alloy_eips",
            "alloy_consensus",
            "op_alloy_consensus",
            "openledger_chain::transaction",
        ],
    ),
    (
        "publishing: blocks, receipts, news",
        &["openledger_chain::chain", "openledger_chain::producer"],
    ),
    ("JSON", &["serde_json", "serde_core", "serde::"]),
    ("our RPC methods", &["openledger_chain::rpc"]),
    (
        "jsonrpsee, hyper, tower",
        &["jsonrpsee", "hyper", "tower", "http::", "http_body", "httparse", "soketto", "h2::"],
    ),
    (
        "kernel: network",
        &[
            "tcp_",
            "inet_",
            "__sys_sendto",
            "__sys_recvfrom",
            "sock_",
            "skb_",
            "net_rx",
            "ep_",
            "do_epoll",
            "__x64_sys_epoll",
            "ip_",
            "loopback",
        ],
    ),
    (
        "kernel: disk",
        &[
            "ext4_",
            "jbd2",
            "vfs_fsync",
            "do_fsync",
            "blk_",
            "vfs_write",
            "ksys_write",
            "ksys_pwrite",
        ],
    ),
    (
        "kernel: memory",
        &[
            "asm_exc_page_fault",
            "exc_page_fault",
            "do_user_addr_fault",
            "__x64_sys_mmap",
            "__x64_sys_munmap",
            "__x64_sys_madvise",
            "__x64_sys_brk",
            "__x64_sys_mprotect",
        ],
    ),
    (
        "kernel: threads and waiting",
        &["futex", "__schedule", "schedule", "__x64_sys_nanosleep", "try_to_wake_up"],
    ),
    ("tokio", &["tokio", "mio::"]),
    ("kernel: other", &["entry_SYSCALL_64", "asm_", "do_syscall_64"]),
];
const OTHER: &str = "other";

/// Profiles our first node under plain calls and under batches. Returns a Markdown section.
pub(crate) fn profile(
    options: &Options,
    nodes: &[Node],
    senders: &Senders,
    places: &Places<'_>,
) -> Result<String> {
    let ours = nodes.iter().find(|node| matches!(node.kind, Kind::Ours(_)));
    let ours = ours.wrap_err("there is no node of ours to profile")?;
    if Command::new("perf").arg("--version").stdout(Stdio::null()).status().is_err() {
        return Ok(
            "## Profile\n\n**SKIPPED: `perf` is not installed (Debian package linux-perf), \
                   so nothing is known about where the time goes.**\n"
                .to_owned(),
        );
    }
    let mut out = format!(
        "## Profile of {}\n\n`perf` at {FREQUENCY} Hz over all threads of the node, from the first \
         request to the last inclusion. A sample belongs to the first category that its call chain \
         meets, from the innermost function outwards.\n\n",
        ours.name
    );
    let files = GenesisFiles::write(places.scratch, &senders.all(), 0)?;
    for workload in options.workload.workloads() {
        for shape in [
            Shape { connections: options.connections, batch: 1 },
            Shape { connections: 8, batch: 100 },
        ] {
            let mut ready = measure::ready(ours, workload, &files, senders, places)?;
            let data = places.scratch.join("perf.data");
            let mut recorder = record(ready.running.pid(), &data)?;
            let amount = Amount {
                txs: workload.scaled(options.txs),
                time: Duration::from_secs(options.seconds),
            };
            let run = measure::run(&mut ready, senders, shape, amount, false);
            stop(&mut recorder)?;
            let run = run?;
            drop(ready);
            let stacks = stacks(&data)?;
            std::fs::remove_file(&data).wrap_err("cannot remove the recording")?;
            let _ = writeln!(out, "### {}, {}\n", workload.name(), shape.name());
            describe(&mut out, &run, &stacks);
        }
    }
    Ok(out)
}

fn record(pid: u32, data: &Path) -> Result<Child> {
    let recorder = Command::new("perf")
        .args(["record", "-q", "-F", FREQUENCY, "--call-graph", STACK, "-p", &pid.to_string()])
        .arg("-o")
        .arg(data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .wrap_err("cannot start perf")?;
    // It attaches to the threads there are; the load comes later in any case.
    thread::sleep(Duration::from_millis(500));
    Ok(recorder)
}

/// Asks perf to finish its file, as a terminal's interrupt would.
fn stop(recorder: &mut Child) -> Result<()> {
    let status = Command::new("kill").args(["-INT", &recorder.id().to_string()]).status()?;
    ensure!(status.success(), "perf had ended before the load did");
    recorder.wait()?;
    Ok(())
}

/// Each sample's functions, innermost first.
fn stacks(data: &Path) -> Result<Vec<Vec<String>>> {
    let output = Command::new("perf")
        .args(["script", "--no-inline", "-F", "comm,tid,ip,sym", "-i"])
        .arg(data)
        .stderr(Stdio::null())
        .output()
        .wrap_err("cannot start perf script")?;
    ensure!(output.status.success(), "perf script failed");
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

fn parse(script: &str) -> Vec<Vec<String>> {
    let mut stacks = Vec::new();
    let mut current: Option<Vec<String>> = None;
    for line in script.lines() {
        if line.trim().is_empty() {
            stacks.extend(current.take());
        } else if let Some(stack) = &mut current {
            // "   55d1c0 function"
            if let Some((_, function)) = line.trim().split_once(' ') {
                stack.push(function.to_owned());
            }
        } else {
            current = Some(Vec::new());
        }
    }
    stacks.extend(current);
    stacks.retain(|stack| !stack.is_empty());
    stacks
}

/// The path of a function without the types it is generic over, whose names would mislead.
fn path_of(function: &str) -> String {
    let (mut path, mut depth) = (String::new(), 0u32);
    // `<Type as Trait>::method` belongs to Type.
    let function = match function.strip_prefix('<') {
        Some(rest) => rest.split(" as ").next().unwrap_or(rest).trim_start_matches(['&', '<']),
        None => function,
    };
    for letter in function.chars() {
        match letter {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            letter if depth == 0 => path.push(letter),
            _ => {}
        }
    }
    path
}

fn category(stack: &[String]) -> &'static str {
    for function in stack {
        let path = path_of(function);
        for (name, patterns) in CATEGORIES {
            let belongs = patterns.iter().any(|pattern| match name.starts_with("kernel") {
                true => path.starts_with(pattern),
                false => path.starts_with(pattern) || path.contains(&format!("::{pattern}")),
            });
            if belongs {
                return name;
            }
        }
    }
    OTHER
}

fn describe(out: &mut String, run: &Run, stacks: &[Vec<String>]) {
    let total = stacks.len().max(1) as f64;
    let _ = writeln!(
        out,
        "{:.0} TPS, {:.0} µs of the node's processor time per transaction (perf itself slows it), {} \
         samples.\n\n| category | share | µs/tx |\n|---|---|---|",
        run.tps,
        run.node_cpu_us,
        stacks.len()
    );
    let mut categories: BTreeMap<&str, usize> = BTreeMap::new();
    let mut functions: BTreeMap<String, usize> = BTreeMap::new();
    for stack in stacks {
        *categories.entry(category(stack)).or_default() += 1;
        if let Some(innermost) = stack.first() {
            *functions.entry(shortened(innermost)).or_default() += 1;
        }
    }
    for (name, count) in descending(categories) {
        let share = count as f64 / total;
        let _ =
            writeln!(out, "| {name} | {:.1} % | {:.1} |", share * 100.0, share * run.node_cpu_us);
    }
    out.push_str("\n| innermost function | share |\n|---|---|\n");
    for (name, count) in descending(functions).into_iter().take(FUNCTIONS_SHOWN) {
        let _ = writeln!(out, "| `{name}` | {:.1} % |", count as f64 / total * 100.0);
    }
    out.push('\n');
}

fn shortened(function: &str) -> String {
    let path = path_of(function).replace('|', " ");
    path.chars().take(90).collect()
}

fn descending<K: Ord>(counts: BTreeMap<K, usize>) -> Vec<(K, usize)> {
    let mut sorted: Vec<_> = counts.into_iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_belongs_to_the_innermost_function_that_says_what_it_is_for() {
        let script = "tokio 12\n  55 keccakf\n  66 openledger_chain::trie::Trie<K>::root\n  77 main\n\n\
                      tokio 12\n  55 malloc\n  66 <hyper::proto::h1::Conn<I, B> as core::Foo>::poll\n";
        let stacks = parse(script);
        assert_eq!(stacks.len(), 2);
        assert_eq!(category(&stacks[0]), "state trie and state");
        assert_eq!(category(&stacks[1]), "jsonrpsee, hyper, tower");
        assert_eq!(category(&["keccakf".to_owned()]), OTHER);
    }

    #[test]
    fn types_a_function_is_generic_over_do_not_count() {
        let function = "tokio::runtime::task::raw::poll<openledger_chain::pool::Pool>";
        assert_eq!(path_of(function), "tokio::runtime::task::raw::poll");
        assert_eq!(category(&[function.to_owned()]), "tokio");
    }
}
