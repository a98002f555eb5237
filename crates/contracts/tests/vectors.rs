//! Rust and Solidity agree on fees and on receipts.
//!
//! The files in `contracts/test/vectors` hold random cases with the results `openledger_primitives`
//! computes; the Solidity tests of the same name recompute each case with the contracts. Here the files
//! are regenerated and compared, so neither side can drift. `BLESS=1 cargo test` rewrites them.

use std::{env, fs, path::PathBuf};

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolStruct;
use openledger_contracts::addresses;
use openledger_primitives::{
    OpenAmount, Payee, Price, Receipt, Share, SpendingLimit, SplitBps, receipt_domain, split_fee,
};
use serde_json::{Value, json};

const FEE_SPLIT_CASES: u64 = 100;
const RECEIPT_CASES: u64 = 16;

/// Words from a counter through keccak: the same cases on every machine.
struct Words {
    seed: &'static str,
    drawn: u64,
}

impl Words {
    fn new(seed: &'static str) -> Self {
        Self { seed, drawn: 0 }
    }

    fn word(&mut self) -> B256 {
        self.drawn += 1;
        keccak256(format!("{}/{}", self.seed, self.drawn))
    }

    fn below(&mut self, bound: u128) -> u128 {
        u128::from_be_bytes(self.word()[..16].try_into().expect("16 of 32 bytes")) % bound
    }

    /// Below a random power of two up to `2^bits`, so that small numbers are as likely as large ones.
    fn up_to_bits(&mut self, bits: u128) -> u128 {
        let width = self.below(bits + 1);
        self.below(1 << width)
    }

    /// Fewer than `most` shares that sum to at most the whole, sometimes to exactly the whole.
    fn shares(&mut self, most: u128) -> Vec<u64> {
        let count = self.below(most) as usize;
        let mut cuts: Vec<u64> =
            (0..=count).map(|_| self.below((1 << 32) + 1) as u64).chain([0]).collect();
        if self.below(3) == 0 {
            cuts.push(1 << 32);
        }
        cuts.sort_unstable();
        cuts.dedup();
        cuts.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

fn dec(value: impl ToString) -> Value {
    Value::String(value.to_string())
}

fn fee_split_case(words: &mut Words) -> Value {
    let price = Price {
        input: OpenAmount::from_wei(words.up_to_bits(79)),
        output: OpenAmount::from_wei(words.up_to_bits(79)),
    };
    let (tokens_in, tokens_out) = (words.up_to_bits(32) as u64, words.up_to_bits(32) as u64);
    let split = match words.below(3) {
        0 => SplitBps::DEVNET,
        _ => SplitBps {
            platform: words.below(2_001) as u16,
            compute: words.below(3_334) as u16,
            model: words.below(3_334) as u16,
            stakers: words.below(3_334) as u16,
        },
    };
    let somebody_stakes = words.below(2) == 1;
    let shares = words.shares(12);
    let as_shares: Vec<_> =
        shares.iter().map(|parts| Share::from_parts(*parts).expect("at most the whole")).collect();
    let parts = split_fee(price, tokens_in, tokens_out, split, somebody_stakes, &as_shares)
        .expect("111 bits of token fee fit");
    json!({
        "priceIn": dec(price.input.wei()), "priceOut": dec(price.output.wei()),
        "tokensIn": dec(tokens_in), "tokensOut": dec(tokens_out),
        "platformBps": split.platform, "computeBps": split.compute,
        "modelBps": split.model, "stakersBps": split.stakers,
        "somebodyStakes": somebody_stakes,
        "shares": shares.iter().map(dec).collect::<Vec<_>>(),
        "fee": dec(parts.fee.wei()), "platform": dec(parts.platform.wei()),
        "compute": dec(parts.compute.wei()), "model": dec(parts.model.wei()),
        "stakers": dec(parts.stakers.wei()), "commons": dec(parts.commons.wei()),
        "paid": parts.paid.iter().map(|paid| dec(paid.wei())).collect::<Vec<_>>(),
    })
}

fn receipt(words: &mut Words) -> Receipt {
    let mut accounts: Vec<_> =
        (0..words.below(9)).map(|_| Address::from_word(words.word())).collect();
    accounts.sort_unstable();
    Receipt {
        id: words.word(),
        modelId: U256::from_be_bytes(words.word().0),
        payer: Address::from_word(words.word()),
        tokensIn: words.up_to_bits(64) as u64,
        tokensOut: words.up_to_bits(64) as u64,
        fee: U256::from_be_bytes(words.word().0),
        requestHash: words.word(),
        answerHash: words.word(),
        evidenceHash: words.word(),
        issuedAt: words.up_to_bits(64) as u64,
        payees: accounts
            .into_iter()
            .map(|account| Payee { account, share: words.up_to_bits(32) as u64 })
            .collect(),
    }
}

fn receipt_case(words: &mut Words) -> Value {
    let receipt = receipt(words);
    let domain = receipt_domain(addresses::DEVNET_CHAIN_ID, addresses::INFERENCE_MARKET);
    let accounts: Vec<_> = receipt.payees.iter().map(|payee| payee.account).collect();
    let shares: Vec<_> = receipt.payees.iter().map(|payee| dec(payee.share)).collect();
    json!({
        "id": receipt.id, "modelId": receipt.modelId, "payer": receipt.payer,
        "tokensIn": dec(receipt.tokensIn), "tokensOut": dec(receipt.tokensOut), "fee": receipt.fee,
        "requestHash": receipt.requestHash, "answerHash": receipt.answerHash,
        "evidenceHash": receipt.evidenceHash, "issuedAt": dec(receipt.issuedAt),
        "accounts": accounts, "shares": shares,
        "digest": receipt.eip712_signing_hash(&domain),
    })
}

fn spending_limit_case(words: &mut Words) -> Value {
    let consent = SpendingLimit {
        payer: Address::from_word(words.word()),
        operator: Address::from_word(words.word()),
        limit: U256::from_be_bytes(words.word().0),
        nonce: U256::from(words.up_to_bits(64)),
        deadline: words.up_to_bits(64) as u64,
    };
    let domain = receipt_domain(addresses::DEVNET_CHAIN_ID, addresses::INFERENCE_MARKET);
    json!({
        "payer": consent.payer, "operator": consent.operator, "limit": consent.limit,
        "nonce": consent.nonce, "deadline": dec(consent.deadline),
        "digest": consent.eip712_signing_hash(&domain),
    })
}

fn cases(count: u64, words: &mut Words, case: fn(&mut Words) -> Value) -> Value {
    let cases: Vec<_> = (0..count).map(|_| case(words)).collect();
    json!({ "count": count, "cases": cases })
}

fn assert_committed(name: &str, vectors: &Value) {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../contracts/test/vectors").join(name);
    let text = format!("{vectors:#}\n");
    if env::var_os("BLESS").is_some() {
        fs::write(&path, &text).expect("the vectors' folder is writable");
    }
    let committed = fs::read_to_string(&path).expect("the vectors are committed");
    let committed: Value = serde_json::from_str(&committed).expect("the vectors are JSON");
    assert!(committed == *vectors, "{name} is not what Rust computes now; BLESS=1 rewrites it");
}

#[test]
fn fees_are_split_as_the_contract_splits_them() {
    let vectors = cases(FEE_SPLIT_CASES, &mut Words::new("fee split"), fee_split_case);
    assert_committed("fee_split.json", &vectors);
}

#[test]
fn receipts_are_signed_as_the_contract_hashes_them() {
    let vectors = cases(RECEIPT_CASES, &mut Words::new("receipt"), receipt_case);
    assert_committed("receipt.json", &vectors);
}

#[test]
fn consents_are_signed_as_the_contract_hashes_them() {
    let vectors = cases(RECEIPT_CASES, &mut Words::new("spending limit"), spending_limit_case);
    assert_committed("spending_limit.json", &vectors);
}

#[test]
fn the_bindings_hash_a_receipt_as_the_shared_type_does() {
    let mut words = Words::new("binding");
    for _ in 0..RECEIPT_CASES {
        let receipt = receipt(&mut words);
        let bound = openledger_contracts::InferenceMarket::Receipt::from(&receipt);
        assert_eq!(bound.eip712_type_hash(), receipt.eip712_type_hash());
        assert_eq!(bound.eip712_hash_struct(), receipt.eip712_hash_struct());
    }
}
