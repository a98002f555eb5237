//! One block as the block log keeps it.

use alloy_consensus::{Header, transaction::Recovered};
use alloy_primitives::Address;
use alloy_rlp::{Decodable, Encodable, encode_list};
use op_alloy_consensus::{OpReceipt, OpTxEnvelope};

use crate::{execution::SealedBlock, state::StateDiff};

/// Encodes header, transactions, their senders, receipts (without blooms) and the state diff.
pub(crate) fn encode_block(block: &SealedBlock, diff: &StateDiff) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048);
    block.header.encode(&mut out);
    let txs: Vec<&OpTxEnvelope> = block.txs.iter().map(Recovered::inner).collect();
    encode_list::<_, OpTxEnvelope>(&txs, &mut out);
    // Kept because recovering them costs more than everything else in reading a block.
    let senders: Vec<Address> = block.txs.iter().map(Recovered::signer).collect();
    senders.encode(&mut out);
    block.receipts.encode(&mut out);
    diff.encode(&mut out);
    out
}

/// Reads what [`encode_block`] wrote.
pub(crate) fn decode_block(mut bytes: &[u8]) -> Result<(SealedBlock, StateDiff), String> {
    let buf = &mut bytes;
    let decoded = (|| {
        let header = Header::decode(buf)?;
        let txs = Vec::<OpTxEnvelope>::decode(buf)?;
        let senders = Vec::<Address>::decode(buf)?;
        let receipts = Vec::<OpReceipt>::decode(buf)?;
        let diff = StateDiff::decode(buf)?;
        Ok::<_, alloy_rlp::Error>((header, txs, senders, receipts, diff))
    })();
    let (header, txs, senders, receipts, diff) = decoded.map_err(|error| error.to_string())?;
    if txs.len() != senders.len() || txs.len() != receipts.len() || !buf.is_empty() {
        return Err("the record's lists do not fit together".to_owned());
    }
    let txs = txs
        .into_iter()
        .zip(senders)
        .map(|(tx, sender)| Recovered::new_unchecked(tx, sender))
        .collect();
    Ok((SealedBlock::new(header, txs, receipts), diff))
}
