//! What the scenarios share: a node of their own, keys, a small contract, raw JSON-RPC.

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_network::{EthereumWallet, TxSignerSync};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, bytes};
use alloy_provider::{Provider, ProviderBuilder, RootProvider};
use alloy_signer_local::{MnemonicBuilder, PrivateKeySigner, coins_bip39::English};
use openledger_chain::{
    BlockProduction, Config, DEVNET_CHAIN_ID, Genesis, GenesisAccount, Handle, Node,
};
use serde_json::{Value, json};

/// Time of block 0, so that runs are alike.
pub(crate) const GENESIS_TIME: u64 = 1_700_000_000;

/// Called with nothing it returns its number; with 32 bytes it stores them and logs them under topic
/// 1; with anything else it reverts with the reason "no".
pub(crate) const KEEPER: Bytes = bytes!(
    "604e600c600039604e6000f3"
    "3615602f57" "36602014603b57"
    "6308c379a060e01b600052" "6020600452" "6002602452" "616e6f60f01b604452" "60646000fd"
    "5b60005460005260206000f3"
    "5b60003580600055600052600160206000a100"
);

/// The nth development key.
pub(crate) fn signer(index: u32) -> PrivateKeySigner {
    MnemonicBuilder::<English>::default()
        .phrase("test test test test test test test test test test test junk")
        .index(index)
        .and_then(|builder| builder.build())
        .unwrap()
}

pub(crate) fn genesis() -> Genesis {
    Genesis { timestamp: Some(GENESIS_TIME), ..Genesis::devnet() }
}

pub(crate) fn config(dir: &std::path::Path, block_production: BlockProduction) -> Config {
    Config { rpc_addr: ([127, 0, 0, 1], 0).into(), block_production, ..Config::new(dir) }
}

/// A node in a directory of its own, which is removed with it.
pub(crate) struct TestNode {
    pub(crate) node: Handle,
    pub(crate) dir: tempfile::TempDir,
}

/// A contract at [`FORWARDER`] that calls the one at [`KEPT`] with what it is called with, keeps in
/// slot 0 whether that succeeded, and succeeds itself.
pub(crate) const FORWARD: Bytes =
    bytes!("36600060003760006000366000" "34" "60b0" "5af1" "60005500");
/// Where [`FORWARD`] is in [`with_contracts`].
pub(crate) const FORWARDER: Address = Address::with_last_byte(0xa0);
/// Where [`KEEPER`]'s runtime code is in [`with_contracts`].
pub(crate) const KEPT: Address = Address::with_last_byte(0xb0);
/// The keeper's runtime code.
pub(crate) fn keeper_code() -> Bytes {
    KEEPER.slice(12..)
}

/// A node that makes a block when it is told to, with contracts at [`FORWARDER`] and [`KEPT`].
pub(crate) async fn with_contracts(change: impl FnOnce(Config) -> Config) -> TestNode {
    let dir = tempfile::tempdir().unwrap();
    let mut genesis = genesis();
    for (address, code) in [(FORWARDER, FORWARD), (KEPT, keeper_code())] {
        let account = GenesisAccount { nonce: 1, code, ..GenesisAccount::default() };
        genesis.alloc.insert(address, account);
    }
    let config = change(config(dir.path(), BlockProduction::Manual));
    let node = Node::start(config, genesis).await.unwrap();
    TestNode { node, dir }
}

/// A node that makes a block for each transaction.
///
/// Its genesis lies in the future, so that the clock makes no blocks of its own.
pub(crate) async fn eager() -> TestNode {
    let far = std::time::SystemTime::now() + std::time::Duration::from_secs(1 << 20);
    let far = far.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let dir = tempfile::tempdir().unwrap();
    let genesis = Genesis { timestamp: Some(far), ..Genesis::devnet() };
    let node =
        Node::start(config(dir.path(), BlockProduction::OnTransaction), genesis).await.unwrap();
    TestNode { node, dir }
}

/// A node that makes a block when it is told to.
pub(crate) async fn manual() -> TestNode {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(config(dir.path(), BlockProduction::Manual), genesis()).await.unwrap();
    TestNode { node, dir }
}

impl TestNode {
    /// An alloy provider that signs as development account `index`.
    pub(crate) fn wallet(&self, index: u32) -> impl Provider + Clone + use<> {
        ProviderBuilder::new()
            .wallet(EthereumWallet::from(signer(index)))
            .connect_http(self.node.rpc_url().parse().unwrap())
    }

    /// One JSON-RPC call: the result, or the error object.
    pub(crate) async fn rpc(&self, method: &'static str, params: Value) -> Result<Value, Value> {
        rpc(&self.node.rpc_url(), method, params).await
    }

    /// One JSON-RPC call that must be refused: the error's code and message.
    pub(crate) async fn refused(&self, method: &'static str, params: Value) -> (i64, String) {
        let error = self.rpc(method, params).await.unwrap_err();
        (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
    }

    /// Sends `tx` from development account 0 and makes a block: the transaction's hash.
    pub(crate) async fn mine(&self, tx: TxEip1559) -> B256 {
        let hash = self.send(&sign(&signer(0), tx)).await.unwrap();
        self.node.mine_block().await.unwrap();
        hash
    }

    /// Sends signed bytes; the error message if they are refused.
    pub(crate) async fn send(&self, raw: &[u8]) -> Result<B256, String> {
        let raw = Bytes::copy_from_slice(raw);
        let sent = self.rpc("eth_sendRawTransaction", json!([raw])).await;
        sent.map(|hash| serde_json::from_value(hash).unwrap())
            .map_err(|error| error["message"].as_str().unwrap().to_owned())
    }
}

/// One JSON-RPC call: the result, or the error object.
pub(crate) async fn rpc(url: &str, method: &'static str, params: Value) -> Result<Value, Value> {
    let provider: RootProvider = RootProvider::new_http(url.parse().unwrap());
    provider.raw_request(method.into(), params).await.map_err(|error| match error.as_error_resp() {
        Some(payload) => serde_json::to_value(payload).unwrap(),
        None => panic!("{method}: {error}"),
    })
}

/// A transfer that pays well enough for any test.
pub(crate) fn transfer(nonce: u64, to: Address, value: U256) -> TxEip1559 {
    TxEip1559 {
        chain_id: DEVNET_CHAIN_ID,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 1_000_000,
        to: TxKind::Call(to),
        value,
        ..TxEip1559::default()
    }
}

/// The EIP-2718 bytes of `tx`, signed by `signer`.
pub(crate) fn sign(signer: &PrivateKeySigner, mut tx: TxEip1559) -> Vec<u8> {
    let signature = signer.sign_transaction_sync(&mut tx).unwrap();
    alloy_consensus::TxEnvelope::from(tx.into_signed(signature)).encoded_2718()
}

/// A call from development account 0 to `to` that pays well enough for any test.
pub(crate) fn call_tx(nonce: u64, to: Address, input: impl Into<Bytes>) -> TxEip1559 {
    TxEip1559 { gas_limit: 200_000, input: input.into(), ..transfer(nonce, to, U256::ZERO) }
}

/// A quantity of JSON-RPC.
pub(crate) fn number(value: &Value) -> u64 {
    u64::from_str_radix(&value.as_str().unwrap()[2..], 16).unwrap()
}
