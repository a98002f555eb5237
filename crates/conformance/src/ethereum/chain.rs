//! Blocks on any number of branches, each with the state after it.

use std::{collections::HashMap, sync::Arc};

use alloy_consensus::{
    Block, Header, TxReceipt,
    proofs::{
        calculate_ommers_root, calculate_receipt_root, calculate_transaction_root,
        calculate_withdrawals_root,
    },
    transaction::{Recovered, SignerRecoverable, Transaction},
};
use alloy_primitives::{B256, Bloom, U256};
use alloy_rlp::{Decodable, Encodable};
use openledger_chain::conformance::{
    AncestorHashes, BlockInput, EthForks, EthTx, EthereumHardforks, ImportedBlock, World,
};

use super::{
    header,
    network::Network,
    ommers::{self, Ancestor},
};

/// Ancestors that the EVM can ask for.
const HASHES_MAX: usize = 256;

/// Imported blocks on any number of branches.
pub(crate) struct Blockchain {
    network: Network,
    blocks: HashMap<B256, Imported>,
    head: B256,
}

/// A block that was found valid.
struct Imported {
    header: Header,
    ommers: Vec<B256>,
    world: World,
    total_difficulty: U256,
}

impl Blockchain {
    /// A chain that begins with this block and state.
    ///
    /// Errors: the state does not have the root that the header names.
    pub(crate) fn new(network: Network, genesis: Header, world: World) -> Result<Self, String> {
        if world.root() != genesis.state_root {
            let (got, want) = (world.root(), genesis.state_root);
            return Err(format!("genesis state root: got {got}, expected {want}"));
        }
        let head = genesis.hash_slow();
        let total_difficulty = genesis.difficulty;
        let imported = Imported { header: genesis, ommers: Vec::new(), world, total_difficulty };
        Ok(Self { network, blocks: HashMap::from([(head, imported)]), head })
    }

    /// Hash of the last block of the chain that counts: that with the most work, or after the merge
    /// the latest.
    pub(crate) fn head(&self) -> B256 {
        self.head
    }

    /// Root of the state after [`head`](Self::head).
    pub(crate) fn head_root(&self) -> B256 {
        self.blocks[&self.head].world.root()
    }

    /// Decodes a block, checks it in full, and executes it.
    ///
    /// Errors: why it is not valid. The chain is then as it was.
    pub(crate) fn import(&mut self, rlp: &[u8]) -> Result<ImportedBlock, String> {
        let block = decode(rlp)?;
        let header = &block.header;
        let parent = self.blocks.get(&header.parent_hash).ok_or("the parent is not known")?;
        let merged = match &self.network.merge {
            Some((total, forks)) if parent.total_difficulty >= *total => Some(forks),
            _ => None,
        };
        let forks = merged.unwrap_or(&self.network.forks);
        header::check(forks, header, &parent.header)?;
        check_body(&block)?;
        let ancestors = self.ancestors(header.parent_hash);
        ommers::check(&block.body.ommers, &ancestors, |ommer, parent| {
            header::check(forks, ommer, parent)
        })?;

        let txs = recover(forks, header.number, block.body.transactions)?;
        let executed = parent.world.execute_block(
            forks,
            &BlockInput {
                header,
                txs: &txs,
                ommers: &block.body.ommers,
                withdrawals: block.body.withdrawals.as_ref().map(|list| list.as_slice()),
                hashes: &self.hashes(header.parent_hash),
            },
        )?;
        let bloom = executed.receipts.iter().fold(Bloom::ZERO, |all, one| all | one.bloom());
        let root = executed.world.root();
        let requests = header.requests_hash.map(|_| executed.requests.requests_hash());
        let blob_gas = header.blob_gas_used.map(|_| executed.blob_gas_used);
        let receipts_root = calculate_receipt_root(&executed.receipts);
        agree("gas used", executed.gas_used, header.gas_used)?;
        agree("receipts root", receipts_root, header.receipts_root)?;
        agree("logs bloom", bloom, header.logs_bloom)?;
        agree("requests hash", requests, header.requests_hash)?;
        agree("blob gas used", blob_gas, header.blob_gas_used)?;
        agree("state root", root, header.state_root)?;

        let total_difficulty = parent.total_difficulty + header.difficulty;
        let best = self.blocks[&self.head].total_difficulty;
        let after_merge = forks.is_paris_active_at_block(header.number);
        let hash = header.hash_slow();
        let ommers = block.body.ommers.iter().map(Header::hash_slow).collect();
        let (header, world) = (block.header, executed.world);
        if after_merge || total_difficulty > best {
            self.head = hash;
        }
        let imported =
            Imported { header: header.clone(), ommers, world: world.clone(), total_difficulty };
        self.blocks.insert(hash, imported);
        Ok(ImportedBlock { header, txs, receipts: executed.receipts, world })
    }

    /// The block `hash` and those before it, the latest first.
    fn branch(&self, hash: B256) -> impl Iterator<Item = (B256, &Imported)> {
        let first = self.blocks.get(&hash).map(|block| (hash, block));
        std::iter::successors(first, |(_, block)| {
            let hash = block.header.parent_hash;
            self.blocks.get(&hash).map(|block| (hash, block))
        })
    }

    fn ancestors(&self, parent: B256) -> Vec<Ancestor<'_>> {
        self.branch(parent)
            .take(ommers::GENERATIONS_MAX + 1)
            .map(|(hash, block)| Ancestor { hash, header: &block.header, ommers: &block.ommers })
            .collect()
    }

    fn hashes(&self, parent: B256) -> AncestorHashes {
        let branch = self.branch(parent).take(HASHES_MAX);
        Arc::new(branch.map(|(hash, block)| (block.header.number, hash)).collect())
    }
}

/// Errors: what the execution gave and what the header says, if they differ.
fn agree<T: PartialEq + std::fmt::Debug>(what: &str, ran: T, header: T) -> Result<(), String> {
    if ran == header {
        Ok(())
    } else {
        Err(format!("{what}: the execution gave {ran:?}, the header says {header:?}"))
    }
}

/// One block in its only encoding.
fn decode(mut rlp: &[u8]) -> Result<Block<EthTx>, String> {
    let whole = rlp;
    let block = Block::<EthTx>::decode(&mut rlp).map_err(|error| format!("block RLP: {error}"))?;
    let mut again = Vec::with_capacity(whole.len());
    block.encode(&mut again);
    if !rlp.is_empty() || again != whole {
        return Err("block RLP: not the canonical encoding of a block".to_owned());
    }
    Ok(block)
}

/// Checks the roots in the header that the body decides.
fn check_body(block: &Block<EthTx>) -> Result<(), String> {
    let (header, body) = (&block.header, &block.body);
    let withdrawals = body.withdrawals.as_ref().map(|list| calculate_withdrawals_root(list));
    if calculate_transaction_root(&body.transactions) != header.transactions_root {
        return Err("the transactions are not the header's".to_owned());
    }
    if calculate_ommers_root(&body.ommers) != header.ommers_hash {
        return Err("the uncles are not the header's".to_owned());
    }
    if withdrawals != header.withdrawals_root {
        return Err("the withdrawals are not the header's".to_owned());
    }
    Ok(())
}

/// Recovers the senders under the rules of the fork that holds at block `number`.
fn recover(
    forks: &EthForks,
    number: u64,
    txs: Vec<EthTx>,
) -> Result<Vec<Recovered<EthTx>>, String> {
    let homestead = forks.is_homestead_active_at_block(number);
    let replay_protection = forks.is_spurious_dragon_active_at_block(number);
    let recover = |tx: EthTx| {
        if tx.is_legacy() && tx.chain_id().is_some() && !replay_protection {
            return Err("a signature of EIP-155 before its time".to_owned());
        }
        // EIP-2 forbids a high s.
        let sender = if homestead { tx.recover_signer() } else { tx.recover_signer_unchecked() };
        let sender = sender.map_err(|_| "a signature without a sender".to_owned())?;
        Ok(Recovered::new_unchecked(tx, sender))
    };
    txs.into_iter().map(recover).collect()
}
