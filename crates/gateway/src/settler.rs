use std::{sync::Arc, time::Duration};

use alloy_sol_types::SolStruct;
use openledger_primitives::{B256, Settlement};

use crate::{
    Error, Gateway, StoredReceipt,
    document::{ReceiptDocument, SignedSettlement},
    issue::sign,
    ledger::Included,
};

/// Most receipts in one transaction; the contract's limit.
const BATCH_MAX: u32 = 64;
/// Payees that the receipts of one transaction have together, but for a receipt that alone has more: what
/// fits into a block.
const PAYEES_MAX: usize = 512;
/// How often open receipts are looked for even if nobody called: what a crash left behind.
const IDLE: Duration = Duration::from_secs(5);
/// Wait after the chain failed to answer.
const RETRY: Duration = Duration::from_secs(1);

/// Settles receipts in batches until `shutdown` resolves: as soon as one is issued, with all that wait.
pub async fn settle_receipts(gateway: Arc<Gateway>, shutdown: impl Future<Output = ()>) {
    tokio::pin!(shutdown);
    loop {
        let pause = match gateway.settle_open().await {
            Ok(0) => IDLE,
            Ok(_) => Duration::ZERO,
            Err(error) => {
                tracing::warn!(%error, "receipts wait: settling them failed, trying again");
                RETRY
            }
        };
        tokio::select! {
            () = &mut shutdown => return,
            () = tokio::time::sleep(pause) => {}
            () = gateway.issued.notified() => {}
        }
    }
}

impl Gateway {
    /// Settles what is open, at most one batch. Returns how many receipts left the open state.
    async fn settle_open(&self) -> Result<usize, Error> {
        let open = self.store.open_receipts(BATCH_MAX).await?;
        if open.is_empty() {
            return Ok(0);
        }
        let mut documents = open.iter().map(parsed).collect::<Result<Vec<_>, _>>()?;
        documents.truncate(in_one_batch(documents.iter().map(|one| one.receipt.payees.len())));
        match self.settle_batch(&documents).await {
            Err(Error::Reverted { .. }) => {
                // The contract takes a batch whole or not at all: find the receipt it refuses.
                for document in &documents {
                    self.settle_or_reject(document).await?;
                }
            }
            outcome => outcome?,
        }
        Ok(documents.len())
    }

    async fn settle_batch(&self, documents: &[ReceiptDocument]) -> Result<(), Error> {
        let signed: Vec<_> = documents
            .iter()
            .map(|document| (document.receipt.clone(), document.signature.clone()))
            .collect();
        let included = self.ledger.settle(self.operator(), &signed).await?;
        let record = self.ledger.settlement(included.tx_hash).await?;
        let settled: Vec<B256> =
            record.iter().flat_map(|record| &record.settled).map(|settled| settled.id).collect();
        for document in documents {
            let id = document.receipt.id;
            // A receipt that was settled before is passed over; then its place is an earlier block.
            let place = match settled.contains(&id) {
                true => Some(included),
                false => self.ledger.settlement_of(self.operator(), id).await?,
            };
            if let Some(place) = place {
                self.record_settlement(document, place).await?;
            }
        }
        Ok(())
    }

    async fn settle_or_reject(&self, document: &ReceiptDocument) -> Result<(), Error> {
        match self.settle_batch(core::slice::from_ref(document)).await {
            Err(Error::Reverted { reason, .. }) => {
                let id = document.receipt.id;
                // Settled before a crash that came before we could write it down?
                match self.ledger.settlement_of(self.operator(), id).await? {
                    Some(place) => self.record_settlement(document, place).await,
                    None => {
                        tracing::error!(%id, %reason, "the chain refuses a receipt");
                        self.store.reject(id, &reason).await?;
                        self.settled.notify_waiters();
                        Ok(())
                    }
                }
            }
            outcome => outcome,
        }
    }

    async fn record_settlement(
        &self,
        document: &ReceiptDocument,
        place: Included,
    ) -> Result<(), Error> {
        let domain = self.ledger.domain();
        let statement = Settlement {
            receiptDigest: document.receipt.eip712_signing_hash(&domain),
            txHash: place.tx_hash,
            blockNumber: place.block_number,
            blockHash: place.block_hash,
        };
        let signature = sign(&self.operator, &statement, &domain)?;
        let settlement = Some(SignedSettlement { statement, signature });
        let settled = ReceiptDocument { settlement, ..document.clone() };
        self.store.settle(document.receipt.id, &settled.to_json()).await?;
        self.settled.notify_waiters();
        Ok(())
    }
}

/// How many receipts, with so many payees each, one transaction settles.
fn in_one_batch(payees: impl Iterator<Item = usize>) -> usize {
    let sums = payees.scan(0, |sum, payees| {
        *sum += payees;
        Some(*sum)
    });
    sums.take_while(|sum| *sum <= PAYEES_MAX).count().max(1)
}

fn parsed(receipt: &StoredReceipt) -> Result<ReceiptDocument, Error> {
    serde_json::from_str(&receipt.document)
        .map_err(|error| Error::Corrupt(format!("receipt {}: {error}", receipt.receipt_id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_holds_as_many_receipts_as_its_payees_allow_and_always_one() {
        let batch = |payees: &[usize]| in_one_batch(payees.iter().copied());
        assert_eq!(batch(&[8; 64]), 64);
        assert_eq!(batch(&[256; 64]), 2);
        assert_eq!(batch(&[600, 1]), 1);
        assert_eq!(batch(&[0, 512, 1]), 2);
    }
}
