//! The bytes a receipt commits to, in a form a contract can read back.

use alloy_sol_types::{SolValue, sol};
use openledger_primitives::{B256, keccak256};

use super::Inputs;
use crate::{Influence, SpanMatch};

sol! {
    /// A span match. `record` is 2³² − 1 and `player` 255 where the text belongs to the commons.
    #[derive(Debug, PartialEq, Eq)]
    struct SpanInput {
        uint32 start;
        uint32 length;
        uint32 holders;
        uint32 record;
        uint8 player;
    }

    /// What `evidenceHash` of a receipt commits to. The shares follow from it, so they are not in it.
    #[derive(Debug, PartialEq, Eq)]
    struct EvidenceInputs {
        bytes32 designHash;
        bytes32 tieSeed;
        bool influencePaid;
        int64[] values;
        uint64[] surprisals;
        SpanInput[] matches;
    }
}

impl Inputs {
    /// Canonical encoding: `abi.encode` of the Solidity struct [`EvidenceInputs`].
    pub fn encode(&self) -> Vec<u8> {
        EvidenceInputs {
            designHash: self.design.hash,
            tieSeed: self.tie_seed,
            influencePaid: self.influence == Influence::Paid,
            values: self.values.clone(),
            surprisals: self.surprisals.clone(),
            matches: self.matches.iter().map(SpanInput::from).collect(),
        }
        .abi_encode()
    }

    /// Keccak-256 of [`Inputs::encode`]: the evidence hash of a receipt.
    pub fn hash(&self) -> B256 {
        keccak256(self.encode())
    }
}

impl From<&SpanMatch> for SpanInput {
    fn from(found: &SpanMatch) -> Self {
        let (record, player) =
            found.earliest.map_or((u32::MAX, u8::MAX), |holder| (holder.record, holder.player));
        Self { start: found.start, length: found.length, holders: found.holders, record, player }
    }
}
