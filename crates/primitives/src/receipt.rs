use std::borrow::Cow;

use alloy_primitives::{Address, U256};
use alloy_sol_types::{Eip712Domain, sol};

/// EIP-712 domain name of the contract that settles receipts.
pub const RECEIPT_DOMAIN_NAME: &str = "OpenLedger InferenceMarket";
/// EIP-712 domain version.
pub const RECEIPT_DOMAIN_VERSION: &str = "1";

sol! {
    /// One wallet's part of the data pot, in parts of 2³².
    #[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Payee {
        address account;
        uint64 share;
    }

    /// What one answer cost and who is paid for it. Signed by the operator, settled on chain.
    ///
    /// `requestHash` and `answerHash` are salted; `evidenceHash` commits to everything the shares
    /// were derived from. `payees` ascend strictly by account.
    #[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Receipt {
        bytes32 id;
        uint256 modelId;
        address payer;
        uint64 tokensIn;
        uint64 tokensOut;
        uint256 fee;
        bytes32 requestHash;
        bytes32 answerHash;
        bytes32 evidenceHash;
        uint64 issuedAt;
        Payee[] payees;
    }

    /// A payer's consent that `operator` may charge up to `limit` wei until `deadline`.
    #[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct SpendingLimit {
        address payer;
        address operator;
        uint256 limit;
        uint256 nonce;
        uint64 deadline;
    }

    /// The operator's statement of where a receipt was settled.
    #[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Settlement {
        bytes32 receiptDigest;
        bytes32 txHash;
        uint64 blockNumber;
        bytes32 blockHash;
    }
}

/// EIP-712 domain of receipts, spending limits and settlements on one chain and one contract.
///
/// The digest to sign is `value.eip712_signing_hash(&domain)`.
pub fn receipt_domain(chain_id: u64, market: Address) -> Eip712Domain {
    Eip712Domain::new(
        Some(Cow::Borrowed(RECEIPT_DOMAIN_NAME)),
        Some(Cow::Borrowed(RECEIPT_DOMAIN_VERSION)),
        Some(U256::from(chain_id)),
        Some(market),
        None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;
    use alloy_sol_types::SolStruct;

    fn receipt() -> Receipt {
        Receipt {
            id: B256::repeat_byte(1),
            modelId: U256::from(1),
            payer: Address::repeat_byte(2),
            tokensIn: 10,
            tokensOut: 20,
            fee: U256::from(700),
            requestHash: B256::repeat_byte(3),
            answerHash: B256::repeat_byte(4),
            evidenceHash: B256::repeat_byte(5),
            issuedAt: 6,
            payees: vec![Payee { account: Address::repeat_byte(7), share: 1 << 32 }],
        }
    }

    #[test]
    fn the_type_string_is_the_contracts() {
        assert_eq!(
            Receipt::eip712_encode_type(),
            "Receipt(bytes32 id,uint256 modelId,address payer,uint64 tokensIn,uint64 tokensOut,\
             uint256 fee,bytes32 requestHash,bytes32 answerHash,bytes32 evidenceHash,\
             uint64 issuedAt,Payee[] payees)Payee(address account,uint64 share)"
        );
    }

    #[test]
    fn another_chain_contract_or_payee_is_another_digest() {
        let market = Address::repeat_byte(9);
        let digest = receipt().eip712_signing_hash(&receipt_domain(161337, market));
        assert_ne!(digest, receipt().eip712_signing_hash(&receipt_domain(1, market)));
        assert_ne!(digest, receipt().eip712_signing_hash(&receipt_domain(161337, Address::ZERO)));
        let mut other = receipt();
        other.payees[0].share -= 1;
        assert_ne!(digest, other.eip712_signing_hash(&receipt_domain(161337, market)));
    }

    #[test]
    fn a_receipt_survives_json() {
        let json = serde_json::to_string(&receipt()).unwrap();
        assert!(json.contains("\"modelId\":\"0x1\""), "{json}");
        assert_eq!(serde_json::from_str::<Receipt>(&json).unwrap(), receipt());
    }
}
