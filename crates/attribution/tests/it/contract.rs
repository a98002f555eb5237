//! Rust and Solidity agree on who is paid: 10,000 random answers, every number of the derivation.
//!
//! Both sides draw the same answers from keccak (`contracts/test/AttributionCases.sol`), so the committed
//! file `contracts/test/vectors/shares.json` holds only the designs and, for each block of answers, one
//! digest of the inputs and one of everything that `openledger_attribution` derives from them. The
//! Solidity test recomputes both. `BLESS=1 cargo test` rewrites the file.

use std::{env, fs, path::PathBuf};

use alloy_sol_types::{SolValue, sol};
use openledger_attribution::{
    Design, HOLDERS_MAX, Holder, Influence, Inputs, Outcome as Derived, SpanMatch,
};
use openledger_primitives::{B256, U256, keccak256};
use serde_json::{Value, json};

use crate::vectors::hex;

const CASES: u64 = 10_000;
const BLOCK: u64 = 100;
const NAT: u128 = 1 << 20;

/// Players and order: every construction, few contrasts and many, the smallest and the largest.
const DESIGNS: [(usize, u8); 20] = [
    (1, 1),
    (2, 2),
    (3, 4),
    (4, 4),
    (4, 8),
    (5, 8),
    (5, 16),
    (6, 12),
    (7, 16),
    (8, 8),
    (9, 12),
    (12, 24),
    (13, 16),
    (20, 20),
    (25, 28),
    (28, 32),
    (33, 36),
    (40, 64),
    (56, 60),
    (63, 64),
];

sol! {
    struct SpanCredit {
        uint64[] perPlayer;
        uint64 commons;
        uint64 covered;
        uint64 total;
    }
    /// As in `contracts/src/attribution/AttributionTypes.sol`; narrower numbers, the same encoding.
    struct Outcome {
        int64[] effects;
        int64 noiseFloor;
        uint64 explained;
        SpanCredit credit;
        uint64[] shares;
        uint64 commons;
    }
}

/// Numbers of one answer, drawn one after another.
struct Draws {
    case: u64,
    drawn: u64,
}

impl Draws {
    fn word(&mut self) -> B256 {
        let word = keccak256((U256::from(self.case), U256::from(self.drawn)).abi_encode());
        self.drawn += 1;
        word
    }

    fn below(&mut self, limit: u128) -> u128 {
        u128::from_be_bytes(self.word()[16..].try_into().expect("16 of 32 bytes")) % limit
    }

    fn inputs(&mut self, designs: &[Design]) -> Inputs {
        let design = &designs[self.below(designs.len() as u128) as usize];
        let tie_seed = self.word();
        let influence = if self.below(8) == 0 { Influence::Commons } else { Influence::Paid };
        let values = self.values(design);
        let surprisals = self.surprisals();
        let matches = self.matches(surprisals.len() as u128, design.players() as u128);
        Inputs { design: design.reference(), values, surprisals, influence, matches, tie_seed }
    }

    /// Ties, ordinary answers, the bounds, and answers that players shaped.
    fn values(&mut self, design: &Design) -> Vec<i64> {
        let kind = self.below(4);
        let worth: Vec<u128> = (0..design.players()).map(|_| self.below(9 * NAT)).collect();
        let mut value = |run| match kind {
            0 => self.below(7) as i64 - 3,
            1 => -(self.below(80 * NAT) as i64),
            2 => self.below((1 << 45) + 1) as i64 - (1 << 44),
            _ => {
                let inside = worth.iter().zip(design.subset(run)).filter(|(_, inside)| *inside);
                let sum: u128 = inside.map(|(worth, _)| worth).sum();
                (self.below(NAT / 4) + sum) as i64 - 600 * NAT as i64
            }
        };
        (0..design.run_count()).map(&mut value).collect()
    }

    fn surprisals(&mut self) -> Vec<u64> {
        let tokens = self.below(41);
        let mut surprisal = || match self.below(8) {
            0 => 0,
            1 => 2 * NAT as u64,
            2 => self.below((1 << 32) + 1) as u64,
            _ => self.below(8 * NAT) as u64,
        };
        (0..tokens).map(|_| surprisal()).collect()
    }

    fn matches(&mut self, tokens: u128, players: u128) -> Vec<SpanMatch> {
        let count = self.below(7) as usize;
        let mut matches = Vec::new();
        let (mut start, mut end) = (0, 0);
        while matches.len() < count {
            start += self.below(10);
            let mut length = 1 + self.below(16);
            if start + length <= end {
                length = end + 1 - start;
            }
            if start + length > tokens {
                break;
            }
            let holders = 1 + self.below(55) as u32;
            let earliest = (holders <= HOLDERS_MAX).then(|| Holder {
                record: self.below(1_000) as u32,
                player: self.below(players) as u8,
            });
            matches.push(SpanMatch {
                start: start as u32,
                length: length as u32,
                holders,
                earliest,
            });
            end = start + length;
            start += 1;
        }
        matches
    }
}

impl From<Derived> for Outcome {
    fn from(derived: Derived) -> Self {
        let credit = derived.credit;
        Self {
            effects: derived.effects,
            noiseFloor: derived.noise_floor,
            explained: derived.explained.parts(),
            credit: SpanCredit {
                perPlayer: credit.per_player,
                commons: credit.commons,
                covered: credit.covered,
                total: credit.total,
            },
            shares: derived.shares.players.iter().map(|share| share.parts()).collect(),
            commons: derived.shares.commons.parts(),
        }
    }
}

fn chained(digest: B256, next: B256) -> B256 {
    keccak256([digest.0, next.0].concat())
}

#[test]
fn the_contract_derives_the_shares_of_ten_thousand_answers_to_the_last_unit() {
    let designs: Vec<Design> = DESIGNS
        .iter()
        .map(|(players, order)| Design::with_order(*players, *order).expect("it exists"))
        .collect();
    let mut paid = 0u64;
    let (inputs, outcomes): (Vec<B256>, Vec<B256>) = (0..CASES / BLOCK)
        .map(|block| {
            (block * BLOCK..(block + 1) * BLOCK).fold(
                (B256::ZERO, B256::ZERO),
                |(made, derived), case| {
                    let inputs = Draws { case, drawn: 0 }.inputs(&designs);
                    let outcome = inputs.derive().expect("a measurement can give this");
                    paid += outcome.shares.players.iter().filter(|s| s.parts() > 0).count() as u64;
                    let follows = keccak256(Outcome::from(outcome).abi_encode());
                    (chained(made, inputs.hash()), chained(derived, follows))
                },
            )
        })
        .unzip();
    assert!(paid > CASES, "most answers pay somebody");
    let encoded: Vec<String> = designs.iter().map(|d| hex(&d.encode())).collect();
    let vectors = json!({
        "block": BLOCK, "design_count": designs.len(), "designs": encoded,
        "inputs": inputs, "outcomes": outcomes,
    });
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../contracts/test/vectors/shares.json");
    if env::var_os("BLESS").is_some() {
        fs::write(&path, format!("{vectors:#}\n")).expect("the vectors' folder is writable");
    }
    let committed = fs::read_to_string(&path).expect("the vectors are committed");
    let committed: Value = serde_json::from_str(&committed).expect("the vectors are JSON");
    assert!(committed == vectors, "shares.json is not what Rust computes now; BLESS=1 rewrites it");
}
