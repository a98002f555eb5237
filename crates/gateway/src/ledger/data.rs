//! Datanets and their versions.

use alloy_provider::Provider;
use alloy_rpc_types_eth::{BlockNumberOrTag, Filter};
use alloy_sol_types::SolEvent;
use openledger_contracts::{DatanetRegistry, addresses::DATANET_REGISTRY};
use openledger_datanet::{Contributor, Version};
use openledger_primitives::{Address, B256, U256};

use super::{Included, Ledger, place};
use crate::Error;

impl Ledger {
    /// Creates a Datanet and returns its id.
    pub async fn create_datanet(
        &self,
        curator: Address,
        name: &str,
        licence: &str,
        uri: &str,
    ) -> Result<u64, Error> {
        let datanets = self.datanets();
        let call = datanets.createDatanet(name.into(), licence.into(), uri.into());
        let receipt = self.send("creating the Datanet", call.from(curator)).await?;
        let created = receipt.decoded_log::<DatanetRegistry::DatanetCreated>();
        let id = created.ok_or_else(|| self.error("no DatanetCreated event"))?.datanetId;
        self.id(id)
    }

    /// Commits a version: its root and each contributor's part. Contributors must be wallets.
    pub async fn commit_version(
        &self,
        curator: Address,
        datanet_id: u64,
        version: &Version,
    ) -> Result<(u64, Included), Error> {
        let mut contributions = Vec::new();
        for part in version.contributions() {
            contributions.push(DatanetRegistry::Contribution {
                contributor: wallet_of(&part.contributor)?,
                records: part.records,
                root: part.root,
            });
        }
        contributions.sort_unstable_by_key(|part| part.contributor);
        let records = version.records().len() as u64;
        let datanets = self.datanets();
        let call =
            datanets.commitVersion(U256::from(datanet_id), version.root(), records, contributions);
        let receipt = self.send("committing the Datanet version", call.from(curator)).await?;
        let committed = receipt.decoded_log::<DatanetRegistry::VersionCommitted>();
        let number = committed.ok_or_else(|| self.error("no VersionCommitted event"))?.version;
        Ok((number, self.included(&receipt)?))
    }

    /// A Datanet of this curator and name whose newest version has this root, if there is one: what an
    /// interrupted run has committed already.
    pub async fn find_version(
        &self,
        curator: Address,
        name: &str,
        root: B256,
    ) -> Result<Option<(u64, u64, Included)>, Error> {
        let filter = Filter::new()
            .address(DATANET_REGISTRY)
            .event_signature(DatanetRegistry::VersionCommitted::SIGNATURE_HASH)
            .from_block(BlockNumberOrTag::Earliest);
        let logs = self.provider.get_logs(&filter).await.map_err(|error| self.error(error))?;
        for log in logs.iter().rev() {
            let Ok(committed) = log.log_decode::<DatanetRegistry::VersionCommitted>() else {
                continue;
            };
            let committed = committed.inner.data;
            if committed.root != root {
                continue;
            }
            let datanets = self.datanets();
            let datanet = datanets.datanet(committed.datanetId).call().await;
            let datanet = datanet.map_err(|error| self.error(error))?;
            if (datanet.curator, datanet.name.as_str()) == (curator, name)
                && let Some(included) = place(log)
            {
                return Ok(Some((self.id(committed.datanetId)?, committed.version, included)));
            }
        }
        Ok(None)
    }

    /// Root of a committed Datanet version.
    pub async fn version_root(&self, datanet_id: u64, version: u64) -> Result<B256, Error> {
        let call = self.datanets();
        let found = call.version(U256::from(datanet_id), version).call().await;
        Ok(found.map_err(|error| self.error(error))?.root)
    }
}

/// A contributor's wallet. Names have theirs assigned before a version is made.
fn wallet_of(contributor: &Contributor) -> Result<Address, Error> {
    contributor
        .wallet()
        .ok_or_else(|| Error::Corrupt(format!("contributor {contributor} has no wallet")))
}
