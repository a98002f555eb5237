//! From the shared receipt to the one the bindings submit.

use openledger_primitives as primitives;

use crate::InferenceMarket;

impl From<&primitives::Receipt> for InferenceMarket::Receipt {
    fn from(receipt: &primitives::Receipt) -> Self {
        Self {
            id: receipt.id,
            modelId: receipt.modelId,
            payer: receipt.payer,
            tokensIn: receipt.tokensIn,
            tokensOut: receipt.tokensOut,
            fee: receipt.fee,
            requestHash: receipt.requestHash,
            answerHash: receipt.answerHash,
            evidenceHash: receipt.evidenceHash,
            issuedAt: receipt.issuedAt,
            payees: receipt.payees.iter().map(Into::into).collect(),
        }
    }
}

impl From<&primitives::Payee> for InferenceMarket::Payee {
    fn from(payee: &primitives::Payee) -> Self {
        Self { account: payee.account, share: payee.share }
    }
}

impl From<&primitives::SpendingLimit> for InferenceMarket::SpendingLimit {
    fn from(consent: &primitives::SpendingLimit) -> Self {
        Self {
            payer: consent.payer,
            operator: consent.operator,
            limit: consent.limit,
            nonce: consent.nonce,
            deadline: consent.deadline,
        }
    }
}
