//! The three loads: what is on chain before the clock starts, and what each transaction does.

use std::{thread, time::Duration};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall, SolStruct, sol};
use eyre::{ContextCompat, Result, bail, ensure};
use openledger_contracts::{DatanetRegistry, InferenceMarket, ModelRegistry, addresses};
use openledger_primitives::{Payee, Receipt, receipt_domain};
use serde_json::{Value, json};

use crate::{
    accounts::{Account, Call, SignedTx, resident},
    rpc::{Client, quantity},
    wait,
};

/// Receipts in one settlement.
pub(crate) const RECEIPTS_PER_SETTLEMENT: usize = 8;

/// Payees of one receipt.
const PAYEES: usize = 4;
/// Wallets that payees are drawn from.
const PAYEE_WALLETS: u64 = 10_000;
/// Operators whose receipts are settled.
const OPERATORS: u64 = 4;
/// Tokens of each kind that a receipt charges.
const TOKENS: u64 = 1_000;
/// Wei per thousand tokens.
const PRICE: u64 = 10_000_000_000_000_000;
/// The platform's part of the devnet's split, on top of the token fee.
const PLATFORM_BPS: u64 = 500;
/// How long the preparing transactions may take.
const PREPARING_MAX: Duration = Duration::from_secs(60);
/// Accounts that a transfer may go to, in the state or not.
const RECIPIENTS: u64 = 1_000_000;

sol! {
    function transfer(address to, uint256 amount) returns (bool);
}

/// What the transactions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Workload {
    /// One wei to one of a million addresses.
    Transfers,
    /// One token unit to one of a million addresses.
    Erc20,
    /// Receipts of answers, paid out to their contributors.
    Settle,
}

/// A load whose contracts are in place.
pub(crate) struct Prepared {
    pub(crate) workload: Workload,
    chain_id: u64,
    /// Nonce of a sender's first transaction of the load.
    first_nonce: u64,
    token: Address,
    issued_at: u64,
    operators: Vec<Account>,
}

impl Workload {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Transfers => "plain transfers",
            Self::Erc20 => "ERC-20 transfers",
            Self::Settle => "settlements of 8 receipts with 4 payees each",
        }
    }

    /// How many transactions stand for one transfer, in effort: settlements are fewer.
    pub(crate) fn scaled(self, txs: usize) -> usize {
        match self {
            Self::Transfers | Self::Erc20 => txs,
            Self::Settle => (txs / 16).max(1),
        }
    }

    /// Puts in place what the load needs and waits until it is in the chain.
    pub(crate) fn prepare(
        self,
        client: &mut Client,
        chain_id: u64,
        senders: &[Account],
    ) -> Result<Prepared> {
        let deployer = Account::derive("deployer", 0);
        let mut prepared = Prepared {
            workload: self,
            chain_id,
            first_nonce: 0,
            token: deployer.address.create(0),
            issued_at: 0,
            operators: Account::derive_many("operator", OPERATORS as usize),
        };
        match self {
            Self::Transfers => {}
            Self::Erc20 => settle_in(client, &prepared.distribute_tokens(&deployer, senders)?)?,
            Self::Settle => {
                settle_in(client, &prepared.register_model(&deployer))?;
                settle_in(client, &prepared.fund_payers(senders))?;
                prepared.first_nonce = 2;
                let latest = client.call("eth_getBlockByNumber", json!(["latest", false]))?;
                let time = quantity(&latest["timestamp"]);
                prepared.issued_at = time.wrap_err("a block without a timestamp")?;
            }
        }
        Ok(prepared)
    }
}

/// Accounts beside the senders that pay for something.
pub(crate) fn further_accounts() -> [Address; 1] {
    [Account::derive("deployer", 0).address]
}

impl Prepared {
    /// Transactions `from..from + count` of the load over `senders` in turn, signed on all processors.
    /// Index and nonce fix everything in a transaction.
    pub(crate) fn sign(&self, senders: &[Account], from: usize, count: usize) -> Vec<SignedTx> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let part = count.div_ceil(threads).max(1);
        let starts: Vec<usize> = (from..from + count).step_by(part).collect();
        thread::scope(|scope| {
            let parts = starts.iter().map(|start| {
                let indices = *start..(*start + part).min(from + count);
                scope.spawn(move || indices.map(|i| self.sign_one(senders, i)).collect::<Vec<_>>())
            });
            let parts: Vec<_> = parts.collect();
            let joined = parts.into_iter().map(|part| part.join().expect("signing cannot panic"));
            joined.flatten().collect()
        })
    }

    fn sign_one(&self, senders: &[Account], index: usize) -> SignedTx {
        let sender = &senders[index % senders.len()];
        let nonce = self.first_nonce + (index / senders.len()) as u64;
        // Other senders, another number: no two transactions of a run are alike.
        let number = keccak256([sender.address.as_slice(), &nonce.to_be_bytes()].concat());
        let number = u64::from_be_bytes(number[..8].try_into().expect("eight of 32 bytes"));
        sender.transact(self.chain_id, nonce, self.call(sender, number))
    }

    fn call(&self, sender: &Account, number: u64) -> Call {
        let recipient = resident(number % RECIPIENTS);
        match self.workload {
            Workload::Transfers => {
                Call { to: Some(recipient), value: U256::ONE, gas: 21_000, input: Bytes::new() }
            }
            Workload::Erc20 => {
                let input = transferCall { to: recipient, amount: U256::ONE }.abi_encode().into();
                Call { to: Some(self.token), value: U256::ZERO, gas: 80_000, input }
            }
            Workload::Settle => {
                let (receipts, signatures) = (0..RECEIPTS_PER_SETTLEMENT as u64)
                    .map(|place| self.receipt(sender, number, place))
                    .unzip();
                let input = InferenceMarket::settleCall { receipts, signatures }.abi_encode();
                let gas = 4_000_000;
                let input = input.into();
                Call { to: Some(addresses::INFERENCE_MARKET), value: U256::ZERO, gas, input }
            }
        }
    }

    /// A receipt that `payer` pays, and its operator's signature.
    fn receipt(
        &self,
        payer: &Account,
        number: u64,
        place: u64,
    ) -> (InferenceMarket::Receipt, Bytes) {
        let hash = |what: &str| {
            keccak256([what.as_bytes(), &number.to_be_bytes(), &place.to_be_bytes()].concat())
        };
        let operator = self.operator_of(payer);
        let first = number.wrapping_add(place) % PAYEE_WALLETS;
        let mut payees: Vec<Payee> = (0..PAYEES as u64)
            .map(|i| Payee { account: resident((first + i) % PAYEE_WALLETS), share: 1 << 29 })
            .collect();
        payees.sort_unstable_by_key(|payee| payee.account);
        let token_fee = U256::from(2 * TOKENS) * U256::from(PRICE) / U256::from(1_000);
        let receipt = Receipt {
            id: hash("id"),
            modelId: U256::ONE,
            payer: payer.address,
            tokensIn: TOKENS,
            tokensOut: TOKENS,
            fee: token_fee + token_fee * U256::from(PLATFORM_BPS) / U256::from(10_000),
            requestHash: hash("request"),
            answerHash: hash("answer"),
            evidenceHash: hash("evidence"),
            issuedAt: self.issued_at,
            payees,
        };
        let domain = receipt_domain(self.chain_id, addresses::INFERENCE_MARKET);
        let signature = operator.sign(receipt.eip712_signing_hash(&domain));
        (InferenceMarket::Receipt::from(&receipt), Bytes::from(signature.as_bytes().to_vec()))
    }

    fn operator_of(&self, payer: &Account) -> &Account {
        &self.operators[usize::from(payer.address[19]) % self.operators.len()]
    }

    fn distribute_tokens(&self, deployer: &Account, to: &[Account]) -> Result<Vec<SignedTx>> {
        let artifact: Value = serde_json::from_str(include_str!("../token.json"))?;
        let code = artifact["bytecode"].as_str().wrap_err("token.json has no bytecode")?;
        let deploy =
            Call { to: None, value: U256::ZERO, gas: 3_000_000, input: code.parse::<Bytes>()? };
        let mut txs = vec![deployer.transact(self.chain_id, 0, deploy)];
        for (nonce, holder) in (1..).zip(to) {
            let amount = U256::from(1_000_000u64);
            let input = transferCall { to: holder.address, amount }.abi_encode().into();
            let call = Call { to: Some(self.token), value: U256::ZERO, gas: 80_000, input };
            txs.push(deployer.transact(self.chain_id, nonce, call));
        }
        Ok(txs)
    }

    fn register_model(&self, deployer: &Account) -> Vec<SignedTx> {
        let create = DatanetRegistry::createDatanetCall {
            name: "benchmark".to_owned(),
            licence: "CC0-1.0".to_owned(),
            uri: String::new(),
        };
        let root = B256::repeat_byte(1);
        let commit = DatanetRegistry::commitVersionCall {
            datanetId: U256::ONE,
            root,
            records: 1,
            contributions: vec![DatanetRegistry::Contribution {
                contributor: resident(0),
                records: 1,
                root,
            }],
        };
        let register = ModelRegistry::registerCall {
            params: ModelRegistry::ModelParams {
                name: "benchmark".to_owned(),
                baseHash: root,
                adapterHash: root,
                recipeRoot: root,
                traceRoot: root,
                designRoot: root,
                datanets: vec![ModelRegistry::DatanetVersion { datanetId: U256::ONE, version: 1 }],
                priceIn: U256::from(PRICE),
                priceOut: U256::from(PRICE),
                parentId: U256::ZERO,
                royaltyBps: 0,
                jobId: U256::ZERO,
            },
        };
        let calls = [
            (addresses::DATANET_REGISTRY, create.abi_encode()),
            (addresses::DATANET_REGISTRY, commit.abi_encode()),
            (addresses::MODEL_REGISTRY, register.abi_encode()),
        ];
        let txs = (0..).zip(calls).map(|(nonce, (to, input))| {
            let call =
                Call { to: Some(to), value: U256::ZERO, gas: 1_500_000, input: input.into() };
            deployer.transact(self.chain_id, nonce, call)
        });
        txs.collect()
    }

    fn fund_payers(&self, payers: &[Account]) -> Vec<SignedTx> {
        let market = Some(addresses::INFERENCE_MARKET);
        let ether = U256::from(10).pow(U256::from(18));
        let txs = payers.iter().flat_map(|payer| {
            let deposit = Call {
                to: market,
                value: U256::from(100_000) * ether,
                gas: 200_000,
                input: InferenceMarket::depositCall {}.abi_encode().into(),
            };
            let limit = InferenceMarket::setSpendingLimitCall {
                operator: self.operator_of(payer).address,
                limit: U256::from(100_000) * ether,
                deadline: u64::MAX >> 1,
            };
            let input = limit.abi_encode().into();
            let limit = Call { to: market, value: U256::ZERO, gas: 200_000, input };
            [payer.transact(self.chain_id, 0, deposit), payer.transact(self.chain_id, 1, limit)]
        });
        txs.collect()
    }
}

/// Sends preparing transactions and waits until all have succeeded.
fn settle_in(client: &mut Client, txs: &[SignedTx]) -> Result<()> {
    let params: Vec<Value> =
        txs.iter().map(|tx| json!([Bytes::copy_from_slice(&tx.raw)])).collect();
    client.call_many("eth_sendRawTransaction", &params)?;
    let hashes: Vec<B256> = txs.iter().map(|tx| tx.hash).collect();
    wait::until(PREPARING_MAX, "the preparing transactions", || {
        Ok(succeeded(client, &hashes)?.then_some(()))
    })
}

/// Whether all of these are in the chain. Errors: one of them failed there.
pub(crate) fn succeeded(client: &mut Client, hashes: &[B256]) -> Result<bool> {
    let Some(last) = hashes.last() else { return Ok(true) };
    let receipt = client.call("eth_getTransactionReceipt", json!([last]))?;
    if receipt.is_null() || receipt["blockHash"].is_null() {
        return Ok(false);
    }
    let params: Vec<Value> = hashes.iter().map(|hash| json!([hash])).collect();
    for receipt in client.call_many("eth_getTransactionReceipt", &params)? {
        if receipt.is_null() {
            return Ok(false);
        }
        ensure!(receipt["status"] == json!("0x1"), "a transaction failed: {receipt}");
    }
    Ok(true)
}

/// Errors: not all of a sample of the load are in the chain as successes.
pub(crate) fn check_sample(client: &mut Client, hashes: &[B256]) -> Result<()> {
    if !succeeded(client, hashes)? {
        bail!("a transaction that was counted as included has no receipt");
    }
    Ok(())
}
