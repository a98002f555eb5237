//! BlockchainTests: blocks that are valid or not, and the chain that comes of them.

use alloy_consensus::Header;
use alloy_primitives::{B256, hex};
use alloy_rlp::Decodable;
use openledger_chain::conformance::World;
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    Case,
    ethereum::{Blockchain, Network},
    json::Accounts,
    suites::refuse_drafts,
    verdict::{Failure, same},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockchainTest {
    network: String,
    pre: Accounts,
    genesis_block_header: HeaderHash,
    #[serde(rename = "genesisRLP")]
    genesis_rlp: Option<String>,
    blocks: Vec<TestBlock>,
    #[serde(rename = "lastblockhash")]
    last_block_hash: B256,
    post_state: Option<Accounts>,
    post_state_hash: Option<B256>,
    seal_engine: Option<String>,
}

#[derive(Deserialize)]
struct HeaderHash {
    hash: B256,
}

#[derive(Deserialize)]
struct TestBlock {
    rlp: String,
    #[serde(rename = "blockHeader")]
    header: Option<HeaderHash>,
    /// An invalid block says why, some for one network only.
    #[serde(flatten)]
    rest: std::collections::BTreeMap<String, IgnoredAny>,
}

impl TestBlock {
    /// Whether the block must be refused.
    fn is_invalid(&self) -> bool {
        self.header.is_none() || self.rest.contains_key("expectException")
    }
}

pub(super) fn cases(file: &str, name: &str, test: BlockchainTest) -> Vec<Case> {
    vec![Case::run(name, || {
        refuse_drafts(file, &test.network)?;
        check(test)
    })]
}

fn check(test: BlockchainTest) -> Result<(), Failure> {
    let network = Network::named(&test.network)?;
    if test.seal_engine.as_deref() != Some("NoProof") {
        return Err(Failure::NotSupported(
            "the seal of proof-of-work blocks (Ethash) is not checked".to_owned(),
        ));
    }
    let rlp = test
        .genesis_rlp
        .ok_or_else(|| Failure::NotSupported("a genesis without its encoding".to_owned()))?;
    let genesis = genesis_header(&bytes(&rlp)?)?;
    same("genesis hash", &genesis.hash_slow(), &test.genesis_block_header.hash)?;
    let mut chain = Blockchain::new(network, genesis, World::new(test.pre.alloc()?))?;
    for (number, block) in (1..).zip(&test.blocks) {
        let imported = bytes(&block.rlp).and_then(|rlp| chain.import(&rlp));
        match (imported, block.is_invalid()) {
            (Err(_), true) => {}
            (Ok(_), true) => return Err(Failure::Wrong(format!("block {number} was accepted"))),
            (Err(reason), false) => {
                return Err(Failure::Wrong(format!("block {number} was refused: {reason}")));
            }
            (Ok(imported), false) => {
                let wanted = block.header.as_ref().map(|header| header.hash);
                same("block hash", &Some(imported.header.hash_slow()), &wanted)?;
            }
        }
    }
    same("last block", &chain.head(), &test.last_block_hash)?;
    if let Some(accounts) = test.post_state {
        same("post state", &World::new(accounts.alloc()?).root(), &chain.head_root())?;
    }
    match test.post_state_hash {
        Some(root) => same("post state root", &chain.head_root(), &root),
        None => Ok(()),
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    hex::decode(text).map_err(|error| format!("hex: {error}"))
}

/// The header in the RLP of a block.
fn genesis_header(mut rlp: &[u8]) -> Result<Header, String> {
    let mut payload = alloy_rlp::Header::decode_bytes(&mut rlp, true).map_err(|e| e.to_string())?;
    Header::decode(&mut payload).map_err(|error| format!("genesis: {error}"))
}
