//! Makes the predeploys and preinstalls of a genesis: code and storage as a chain would have them on
//! which every contract was deployed and initialised, put at the addresses that the OP Stack fixes.
//!
//! A developer command, never shipped: it reads npm artifacts and a crate with a second alloy, neither
//! of which the node may know. What it makes is committed, with the digest of all that went in.
//!
//! ```text
//! contracts-bedrock (npm), kona-hardforks, our artifacts ─▶ Inputs ─┐  digests ─▶ manifest.json
//!                              values of the chain (devnet.json) ───┴▶ Machine (revm) ─▶ predeploys.json
//! ```
//!
//! **Invariant:** equal inputs give equal bytes; `--check` makes everything again and compares.
//! **Invariant:** no code is written by hand: constructors and initialisers run.

#![expect(clippy::print_stdout, reason = "a command-line tool: its report is its output")]

mod addresses;
mod alloc;
mod chain_values;
mod inputs;
mod machine;
mod output;
mod predeploys;
mod preinstalls;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use eyre::{ContextCompat, Result, bail};

use crate::{chain_values::ChainValues, inputs::Inputs, output::Output};

const USAGE: &str = "\
usage: openledger-predeploys [--check] [--values FILE] [--out FOLDER]

  Writes predeploys.json and manifest.json.
  --check        write nothing; fail if a file there would change
  --values FILE  values of the chain (default: those of the devnet)
  --out FOLDER   where the files are (default: crates/chain/genesis)
";

fn main() -> Result<ExitCode> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = home.parent().wrap_err("this crate lies beside the others")?;
    let (mut check, mut values) = (false, home.join("devnet.json"));
    let mut out = crates.join("chain/genesis");
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut path = || arguments.next().map(PathBuf::from).wrap_err("a path is missing");
        match argument.as_str() {
            "--check" => check = true,
            "--values" => values = path()?,
            "--out" => out = path()?,
            _ => bail!("unknown argument {argument}\n{USAGE}"),
        }
    }

    let output = make(crates, &values)?;
    let stale = if check { output.stale(&out)? } else { output.write(&out)? };
    for name in &stale {
        println!("{}: {}", if check { "stale" } else { "wrote" }, out.join(name).display());
    }
    if check && !stale.is_empty() {
        println!("run `cargo run --release -p openledger-predeploys` and commit the result");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes both files for the chain whose values are in the file `values`.
fn make(crates: &Path, values: &Path) -> Result<Output> {
    let mut inputs = Inputs::new(crates);
    let values = ChainValues::read(values, &mut inputs)?;
    let mut alloc = predeploys::alloc(&values, &mut inputs)?;
    alloc.extend(preinstalls::alloc(values.chain_id, &mut inputs)?);
    Output::new(&alloc, &inputs)
}
