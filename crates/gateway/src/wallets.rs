use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use alloy_signer_local::{MnemonicBuilder, PrivateKeySigner};
use openledger_primitives::{Address, B256};

use crate::Error;

/// The well-known development mnemonic. Anybody knows its keys; a public network refuses it.
pub const DEV_MNEMONIC: &str = "test test test test test test test test test test test junk";

/// Who signs what on a devnet: accounts of the development mnemonic, by index.
#[derive(Debug, Clone)]
pub struct DevSigners {
    /// Sets the rules: fee split, fidelity floor.
    pub governance: PrivateKeySigner,
    /// Serves answers, signs receipts, settles them.
    pub operator: PrivateKeySigner,
    /// Owns the demo's Datanet and model.
    pub builder: PrivateKeySigner,
    /// Pays for answers.
    pub payer: PrivateKeySigner,
}

impl DevSigners {
    /// Derives the accounts (BIP-44, m/44'/60'/0'/0/index).
    pub fn derive() -> Result<Self, Error> {
        let account = |index| MnemonicBuilder::from_phrase_nth(DEV_MNEMONIC, index);
        Ok(Self {
            governance: account(0),
            operator: account(1),
            builder: account(2),
            payer: account(3),
        })
    }
}

/// Wallets made for contributors that are known by name only, kept in one file.
///
/// The file holds private keys: it is created readable by its owner alone.
#[derive(Debug)]
pub struct Wallets {
    path: PathBuf,
    keys: BTreeMap<String, B256>,
}

impl Wallets {
    /// Reads the file, or starts an empty one.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let keys = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Error::Corrupt(format!("{}: {error}", path.display())))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(Error::io("read", path, error)),
        };
        Ok(Self { path: path.to_owned(), keys })
    }

    /// The wallet of each name; missing ones are made and are on disk when this returns.
    pub fn of(&mut self, names: &[String]) -> Result<Vec<Address>, Error> {
        let mut made = false;
        for name in names {
            if !self.keys.contains_key(name) {
                self.keys.insert(name.clone(), PrivateKeySigner::random().to_bytes());
                made = true;
            }
        }
        if made {
            self.save()?;
        }
        names.iter().map(|name| self.address(name)).collect()
    }

    fn address(&self, name: &str) -> Result<Address, Error> {
        let signer = PrivateKeySigner::from_bytes(&self.keys[name])
            .map_err(|error| Error::Corrupt(format!("{}: {error}", self.path.display())))?;
        Ok(signer.address())
    }

    fn save(&self) -> Result<(), Error> {
        let json = serde_json::to_vec_pretty(&self.keys).expect("a map of strings and hashes");
        let temporary = self.path.with_extension("tmp");
        let write = || {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(&json)?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)
        };
        write().map_err(|error| Error::io("write", &self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_wallet() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallets.json");
        let names = ["ann".to_owned(), "bob".to_owned()];
        let first = Wallets::open(&path).unwrap().of(&names).unwrap();
        assert_ne!(first[0], first[1]);
        assert_eq!(Wallets::open(&path).unwrap().of(&names).unwrap(), first);
    }

    #[test]
    fn the_first_dev_accounts_are_the_well_known_ones() {
        let signers = DevSigners::derive().unwrap();
        let operator = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
        assert_eq!(signers.operator.address().to_string(), operator);
    }
}
