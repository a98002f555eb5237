//! Deposits, prices and settlements.

use alloy_primitives::Bytes;
use alloy_provider::Provider;
use alloy_rpc_types_eth::{BlockNumberOrTag, Filter};
use alloy_sol_types::SolEvent;
use openledger_attribution::Influence;
use openledger_contracts::{InferenceMarket, addresses::INFERENCE_MARKET};
use openledger_primitives::{Address, B256, OpenAmount, Price, Receipt, SplitBps, U256};

use super::{Included, Ledger, influence, place};
use crate::Error;

/// What a receipt issued now is priced by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Timestamp of the chain's head; the receipt's `issuedAt`.
    pub issued_at: u64,
    /// The model's price.
    pub price: Price,
    /// The split in force.
    pub split: SplitBps,
    /// Whether the stakers' part has somebody to go to.
    pub somebody_stakes: bool,
    /// Whether the model's fidelity reaches the floor that governance sets.
    pub influence: Influence,
}

/// What one settlement transaction did, by its events.
#[derive(Debug, Clone)]
pub struct SettlementRecord {
    /// Transaction and block.
    pub included: Included,
    /// One per receipt it settled.
    pub settled: Vec<InferenceMarket::Settled>,
    /// One per payout.
    pub payouts: Vec<InferenceMarket::PaidOut>,
}

impl Ledger {
    /// Pays `amount` from the payer's wallet into its prepaid balance.
    pub async fn deposit(&self, payer: Address, amount: OpenAmount) -> Result<Included, Error> {
        let market = self.market();
        let call = market.deposit().value(amount.into()).from(payer);
        self.included(&self.send("depositing", call).await?)
    }

    /// Lets `operator` charge `payer` up to `limit` until `deadline`.
    pub async fn set_spending_limit(
        &self,
        payer: Address,
        operator: Address,
        limit: OpenAmount,
        deadline: u64,
    ) -> Result<Included, Error> {
        let market = self.market();
        let call = market.setSpendingLimit(operator, limit.into(), deadline).from(payer);
        self.included(&self.send("setting the spending limit", call).await?)
    }

    /// What `payer` can spend now: its prepaid balance less what it has asked back.
    pub async fn available(&self, payer: Address) -> Result<OpenAmount, Error> {
        let market = self.market();
        let wei = market.availableOf(payer).call().await.map_err(|error| self.error(error))?;
        self.amount(wei)
    }

    /// How much `operator` may still charge `payer`, and until when.
    pub async fn spending_limit(
        &self,
        payer: Address,
        operator: Address,
    ) -> Result<(OpenAmount, u64), Error> {
        let market = self.market();
        let found = market.spendingLimit(payer, operator).call().await;
        let found = found.map_err(|error| self.error(error))?;
        Ok((self.amount(found.limit)?, found.deadline))
    }

    /// Price and split for a receipt issued at the head of the chain.
    pub async fn terms(&self, model_id: u64) -> Result<Terms, Error> {
        let head = self.provider.get_block_by_number(BlockNumberOrTag::Latest).await;
        let head = head.map_err(|error| self.error(error))?;
        let issued_at = head.ok_or_else(|| self.error("no newest block"))?.header.timestamp;
        let (registry, market) = (self.registry(), self.market());
        let price = registry.priceAt(U256::from(model_id), issued_at);
        let split = market.splitAt(issued_at);
        let paid = market.influencePaidAt(U256::from(model_id), issued_at);
        let (price, split, paid) = tokio::try_join!(price.call(), split.call(), paid.call())
            .map_err(|error| self.error(error))?;
        Ok(Terms {
            issued_at,
            price: Price {
                input: self.amount(price.priceIn)?,
                output: self.amount(price.priceOut)?,
            },
            split: SplitBps {
                platform: split.platformBps,
                compute: split.computeBps,
                model: split.modelBps,
                stakers: split.stakersBps,
            },
            somebody_stakes: split.stakers != Address::ZERO,
            influence: influence(paid),
        })
    }

    /// Settles signed receipts in one transaction sent by `relayer`.
    ///
    /// Errors: [`Error::Reverted`] if the contract refuses one of them; then none is settled.
    pub async fn settle(
        &self,
        relayer: Address,
        receipts: &[(Receipt, Bytes)],
    ) -> Result<Included, Error> {
        let (receipts, signatures) = receipts
            .iter()
            .map(|(receipt, signature)| {
                (InferenceMarket::Receipt::from(receipt), signature.clone())
            })
            .unzip();
        let market = self.market();
        let call = market.settle(receipts, signatures).from(relayer);
        self.included(&self.send("settling receipts", call).await?)
    }

    /// Where a receipt was settled, and what moved: read from the contract's events.
    pub async fn settlement(&self, tx_hash: B256) -> Result<Option<SettlementRecord>, Error> {
        let receipt = self.provider.get_transaction_receipt(tx_hash).await;
        let Some(receipt) = receipt.map_err(|error| self.error(error))? else { return Ok(None) };
        let logs = receipt.logs().iter().filter(|log| log.address() == INFERENCE_MARKET);
        let mut record = SettlementRecord {
            included: self.included(&receipt)?,
            settled: Vec::new(),
            payouts: Vec::new(),
        };
        for log in logs {
            if let Ok(settled) = log.log_decode::<InferenceMarket::Settled>() {
                record.settled.push(settled.inner.data);
            } else if let Ok(paid) = log.log_decode::<InferenceMarket::PaidOut>() {
                record.payouts.push(paid.inner.data);
            }
        }
        Ok(Some(record))
    }

    /// The transaction in which a receipt of `operator` was settled, if it was.
    pub async fn settlement_of(
        &self,
        operator: Address,
        receipt_id: B256,
    ) -> Result<Option<Included>, Error> {
        let filter = Filter::new()
            .address(INFERENCE_MARKET)
            .event_signature(InferenceMarket::Settled::SIGNATURE_HASH)
            .topic1(receipt_id)
            .from_block(BlockNumberOrTag::Earliest);
        let logs = self.provider.get_logs(&filter).await.map_err(|error| self.error(error))?;
        // Ids are unique per operator only.
        let ours = logs.iter().find(|log| {
            log.log_decode::<InferenceMarket::Settled>()
                .is_ok_and(|settled| settled.inner.data.operator == operator)
        });
        Ok(ours.and_then(place))
    }
}
