use std::{fs, path::Path};

use openledger_chain::{Genesis, RollupL1};
use serde_json::{Value, json};

use super::settings::read_genesis;
use crate::{
    cli::ExportGenesisArgs,
    failure::{Exit, Failure, OrFail},
    output::{Output, print},
};

/// Where a data directory keeps what its chain began with.
const STORED_GENESIS: &str = "genesis.json";

/// `openledger node export-genesis`.
pub fn run(args: &ExportGenesisArgs, output: Output) -> Result<(), Failure> {
    let genesis = match (&args.genesis, &args.data_dir) {
        (Some(file), _) => read_genesis(file)?,
        (None, Some(data_dir)) => {
            let file = data_dir.join(STORED_GENESIS);
            read_genesis(&file).map_err(|failure| {
                failure.hint("a data directory has one after the node's first start")
            })?
        }
        (None, None) => return Err(Failure::new(Exit::Usage, "name --data-dir or --genesis")),
    };
    let documents = documents(&genesis)?;
    let cannot_write = |path: &Path| format!("cannot write {}", path.display());
    fs::create_dir_all(&args.out).or_fail(Exit::Failure, cannot_write(&args.out))?;
    let mut written = Vec::new();
    for (name, document) in documents {
        let path = args.out.join(name);
        fs::write(&path, format!("{document:#}\n")).or_fail(Exit::Failure, cannot_write(&path))?;
        written.push(path);
    }
    if output.json {
        print(&json!({ "written": written }).to_string());
    } else {
        written.iter().for_each(|path| print(&path.display().to_string()));
    }
    Ok(())
}

/// The chain as geth and op-node read it.
fn documents(genesis: &Genesis) -> Result<[(&'static str, Value); 2], Failure> {
    let cannot = "this genesis cannot be exported";
    let l1 = RollupL1::embedded(genesis).or_fail(Exit::Usage, cannot)?;
    let geth = genesis.geth_json().or_fail(Exit::Usage, cannot)?;
    let rollup = genesis.rollup_json(&l1).or_fail(Exit::Usage, cannot)?;
    Ok([("genesis.json", geth), ("rollup.json", rollup)])
}
