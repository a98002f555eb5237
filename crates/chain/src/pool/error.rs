//! Why the pool refuses a transaction, in the words that wallets and tools know from geth.

use alloy_primitives::{Address, U256};

/// Why the pool refuses a transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PoolError {
    #[error("already known")]
    AlreadyKnown,
    #[error("invalid chain id for signer: have {have} want {want}")]
    ChainId { have: u64, want: u64 },
    #[error("nonce too low: next nonce {next}, tx nonce {nonce}")]
    NonceTooLow { nonce: u64, next: u64 },
    #[error(
        "nonce too high: tx nonce {nonce}, next nonce {next}, at most {} may be missing between",
        super::NONCE_GAP_MAX
    )]
    NonceTooHigh { nonce: u64, next: u64 },
    #[error("nonce has max value")]
    NonceMax,
    #[error("exceeds block gas limit: tx gas {gas}, block gas limit {limit}")]
    GasLimit { gas: u64, limit: u64 },
    #[error("intrinsic gas too low: gas {gas}, minimum needed {minimum}")]
    IntrinsicGas { gas: u64, minimum: u64 },
    #[error(
        "max priority fee per gas higher than max fee per gas: \
        maxPriorityFeePerGas: {tip}, maxFeePerGas: {max}"
    )]
    TipAboveFeeCap { tip: u128, max: u128 },
    #[error("max initcode size exceeded: code size {size} limit {limit}")]
    InitCodeSize { size: usize, limit: usize },
    #[error("set code transaction must have a target and at least one authorization")]
    EmptyAuthorizations,
    #[error("sender not an eoa: address {0}")]
    SenderIsContract(Address),
    #[error(
        "insufficient funds for gas * price + value: balance {balance}, tx cost {cost}, \
        queued cost {queued}"
    )]
    InsufficientFunds { balance: U256, cost: U256, queued: U256 },
    #[error(
        "replacement transaction underpriced: fee cap and tip must both rise by {}%",
        super::REPLACEMENT_BUMP_PERCENT
    )]
    ReplacementUnderpriced,
    #[error(
        "account limit exceeded: {} transactions of the sender are waiting",
        super::SENDER_TXS_MAX
    )]
    SenderFull,
    #[error("txpool is full: try again when blocks have made room")]
    Full,
}

impl PoolError {
    /// The reason in one word, for counting.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::AlreadyKnown => "already_known",
            Self::ChainId { .. } => "chain_id",
            Self::NonceTooLow { .. } => "nonce_too_low",
            Self::NonceTooHigh { .. } => "nonce_too_high",
            Self::NonceMax => "nonce_max",
            Self::GasLimit { .. } => "gas_limit",
            Self::IntrinsicGas { .. } => "intrinsic_gas",
            Self::TipAboveFeeCap { .. } => "tip_above_fee_cap",
            Self::InitCodeSize { .. } => "init_code_size",
            Self::EmptyAuthorizations => "empty_authorizations",
            Self::SenderIsContract(_) => "sender_is_contract",
            Self::InsufficientFunds { .. } => "insufficient_funds",
            Self::ReplacementUnderpriced => "replacement_underpriced",
            Self::SenderFull => "sender_full",
            Self::Full => "pool_full",
        }
    }
}
