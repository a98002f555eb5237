//! All that goes in, with the digest of each piece.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use alloy_primitives::{Bytes, hex};
use eyre::{ContextCompat, Result, WrapErr, bail};
use kona_hardforks::Isthmus;
use serde_json::Value;
use sha2::{Digest, Sha256};

const BEDROCK: &str = "@eth-optimism/contracts-bedrock";
const KONA: &str = "kona-hardforks";

/// Where a contract's creation code comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The npm package of OP contracts, at Fjord.
    Bedrock(&'static str),
    /// An upgrade transaction of Isthmus.
    Isthmus(IsthmusContract),
    /// Ours, compiled from `contracts/`.
    Ours(&'static str),
}

/// What Isthmus deploys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IsthmusContract {
    GasPriceOracle,
    OperatorFeeVault,
    /// Not placed: the measure of our own L1Block.
    #[cfg(test)]
    L1Block,
}

/// Reads inputs and remembers their SHA-256.
pub(crate) struct Inputs {
    crates: PathBuf,
    digests: BTreeMap<String, String>,
}

impl Inputs {
    /// `crates`: the folder of the workspace's crates.
    pub(crate) fn new(crates: &Path) -> Self {
        Self { crates: crates.to_owned(), digests: BTreeMap::new() }
    }

    /// Digest of every input that was read, by name.
    pub(crate) fn digests(&self) -> &BTreeMap<String, String> {
        &self.digests
    }

    /// Versions of the packages that were read.
    pub(crate) fn versions(&self) -> Result<BTreeMap<&'static str, String>> {
        let package = fs::read_to_string(self.bedrock("package.json"))?;
        let package: Value = serde_json::from_str(&package)?;
        let bedrock = package["version"].as_str().wrap_err("the npm package has no version")?;
        let lock = fs::read_to_string(self.crates.join("../Cargo.lock"))?;
        let kona = lock
            .split("[[package]]")
            .find_map(|entry| {
                entry.trim().strip_prefix(&format!("name = \"{KONA}\"\nversion = \""))
            })
            .and_then(|rest| rest.split('"').next())
            .wrap_err("Cargo.lock has no kona-hardforks")?;
        Ok(BTreeMap::from([(BEDROCK, bedrock.to_owned()), (KONA, kona.to_owned())]))
    }

    /// Creation code, without arguments.
    pub(crate) fn creation(&mut self, source: Source) -> Result<Bytes> {
        match source {
            Source::Bedrock(name) => {
                let path = self.bedrock(&format!("forge-artifacts/{name}.sol/{name}.json"));
                self.artifact(&format!("{BEDROCK}/{name}"), &path)
            }
            Source::Ours(name) => {
                let path = self.crates.join(format!("contracts/artifacts/{name}.json"));
                self.artifact(&format!("contracts/{name}"), &path)
            }
            Source::Isthmus(contract) => {
                let code = match contract {
                    IsthmusContract::GasPriceOracle => {
                        Isthmus::gas_price_oracle_deployment_bytecode()
                    }
                    IsthmusContract::OperatorFeeVault => {
                        Isthmus::operator_fee_vault_deployment_bytecode()
                    }
                    #[cfg(test)]
                    IsthmusContract::L1Block => Isthmus::l1_block_deployment_bytecode(),
                };
                self.remember(&format!("{KONA}/{contract:?}"), &code);
                Ok(code)
            }
        }
    }

    /// The Solidity source that has the code of the preinstalls as literals.
    pub(crate) fn preinstalls(&mut self) -> Result<String> {
        let path = self.bedrock("src/libraries/Preinstalls.sol");
        self.read(&format!("{BEDROCK}/Preinstalls.sol"), &path)
    }

    /// A text file that is an input under this name.
    pub(crate) fn read(&mut self, name: &str, path: &Path) -> Result<String> {
        let text = fs::read_to_string(path).wrap_err_with(|| {
            let npm = "for npm packages, run `npm ci --ignore-scripts` in crates/predeploys";
            format!("{} cannot be read; {npm}", path.display())
        })?;
        self.remember(name, text.as_bytes());
        Ok(text)
    }

    fn artifact(&mut self, name: &str, path: &Path) -> Result<Bytes> {
        let text = self.read(name, path)?;
        let artifact: Value = serde_json::from_str(&text)?;
        let code = artifact["bytecode"]["object"].as_str().wrap_err("no creation code")?;
        match hex::decode(code) {
            Ok(code) if !code.is_empty() => Ok(code.into()),
            _ => bail!("{} has no linked creation code", path.display()),
        }
    }

    fn bedrock(&self, path: &str) -> PathBuf {
        self.crates.join("predeploys/node_modules").join(BEDROCK).join(path)
    }

    fn remember(&mut self, name: &str, bytes: &[u8]) {
        self.digests.insert(name.to_owned(), hex::encode(Sha256::digest(bytes)));
    }
}
