//! Methods for development only: accounts that can be anything, time that moves, transactions without
//! a wallet. Named as in Hardhat and anvil, where tools know them from.
//!
//! They exist only on a development chain. None of what they do could be derived from an L1.

use alloy_consensus::{SignableTransaction, TxEip1559, transaction::Recovered};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U64, U256, b256};
use alloy_rpc_types_eth::TransactionRequest;
use jsonrpsee::{RpcModule, core::RegisterMethodError, types::Params};
use op_alloy_consensus::OpTxEnvelope;
use revm::bytecode::Bytecode;
use secp256k1::{Message, SECP256K1, SecretKey};
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::oneshot;

use super::{
    call::{Overrides, estimate},
    context::Context,
    error::{RpcResult, internal, invalid, limit, refused},
    limits::{DEV_BLOCKS_MAX, DEV_SNAPSHOTS_MAX},
    send::send_all,
};
use crate::{
    dev_accounts,
    execution::Edit,
    producer::{Command, DevAction, Done},
    transaction::SignedTx,
};

/// What `eth_sendTransaction` adds to the base fee as a tip.
const TIP: u128 = 1_000_000;

/// Keys of [`dev_accounts`], in their order. Everybody has them: they come from the mnemonic that every
/// Ethereum development tool uses.
const DEV_KEYS: [B256; 10] = [
    b256!("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"),
    b256!("0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"),
    b256!("0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"),
    b256!("0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6"),
    b256!("0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a"),
    b256!("0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba"),
    b256!("0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e"),
    b256!("0x4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356"),
    b256!("0xdbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97"),
    b256!("0x2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6"),
];

/// A number as tools write it: as a quantity or as a plain number.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(u64),
    Quantity(U64),
}

impl Number {
    fn get(self) -> u64 {
        match self {
            Self::Plain(number) => number,
            Self::Quantity(number) => number.to(),
        }
    }
}

pub(super) fn register(module: &mut RpcModule<Context>) -> Result<(), RegisterMethodError> {
    module.register_async_method("evm_mine", |params, context, _| async move {
        if let Some(timestamp) = params.sequence().optional_next::<Number>()? {
            act(&context, DevAction::NextTimestamp(timestamp.get())).await?;
        }
        mine(&context).await?;
        RpcResult::Ok("0x0")
    })?;
    alias(module, "mine", |params, context| async move {
        let mut params = params.sequence();
        let count = params.optional_next::<Number>()?.map_or(1, Number::get);
        let interval = params.optional_next::<Number>()?.map_or(1, Number::get).max(1);
        if count > DEV_BLOCKS_MAX {
            let message = format!("too many blocks: {count}, the limit is {DEV_BLOCKS_MAX}");
            return Err(limit(message));
        }
        for _ in 0..count {
            if interval > 1 {
                act(&context, DevAction::SkipTime(interval - 1)).await?;
            }
            mine(&context).await?;
        }
        Ok(())
    })?;
    module.register_async_method("evm_increaseTime", |params, context, _| async move {
        let seconds: Number = params.sequence().next()?;
        act(&context, DevAction::SkipTime(seconds.get())).await?;
        RpcResult::Ok(seconds.get())
    })?;
    module.register_async_method("evm_setNextBlockTimestamp", |params, context, _| async move {
        let timestamp: Number = params.sequence().next()?;
        let head = context.chain.head().header.timestamp;
        if timestamp.get() <= head {
            let message = format!("the timestamp must be after the latest block's, {head}");
            return Err(invalid(message));
        }
        act(&context, DevAction::NextTimestamp(timestamp.get())).await
    })?;
    module.register_async_method("evm_snapshot", |_, context, _| async move {
        // What is pre-confirmed is part of what a snapshot remembers.
        if context.chain.pending().is_some_and(|pending| pending.content().block.txs.len() > 1) {
            mine(&context).await?;
        }
        let head = context.chain.head().number();
        let mut snapshots = context.snapshots();
        if snapshots.len() >= DEV_SNAPSHOTS_MAX {
            return Err(limit(format!("there are {DEV_SNAPSHOTS_MAX} snapshots already")));
        }
        snapshots.push(head);
        RpcResult::Ok(U64::from(snapshots.len()))
    })?;
    module.register_async_method("evm_revert", |params, context, _| async move {
        let id: Number = params.sequence().next()?;
        let index = id.get().checked_sub(1).and_then(|index| usize::try_from(index).ok());
        let number = index.and_then(|index| context.snapshots().get(index).copied());
        let (Some(index), Some(number)) = (index, number) else { return Ok(false) };
        act(&context, DevAction::Rewind(number)).await?;
        // It and those after it cannot be gone back to again.
        context.snapshots().truncate(index);
        // Transactions of the blocks that are gone must not come back at the next start.
        context.journal.shorten(&[]);
        RpcResult::Ok(true)
    })?;
    alias(module, "setBalance", |params, context| async move {
        let mut params = params.sequence();
        let (address, balance) = (params.next()?, params.next()?);
        act(&context, DevAction::Edit(address, Edit::Balance(balance))).await
    })?;
    alias(module, "setNonce", |params, context| async move {
        let mut params = params.sequence();
        let (address, nonce): (Address, Number) = (params.next()?, params.next()?);
        act(&context, DevAction::Edit(address, Edit::Nonce(nonce.get()))).await
    })?;
    alias(module, "setCode", |params, context| async move {
        let mut params = params.sequence();
        let (address, code): (Address, Bytes) = (params.next()?, params.next()?);
        let code = Bytecode::new_raw_checked(code).map_err(|error| invalid(error.to_string()))?;
        act(&context, DevAction::Edit(address, Edit::Code(code))).await
    })?;
    alias(module, "setStorageAt", |params, context| async move {
        let mut params = params.sequence();
        let (address, slot, value): (_, U256, U256) =
            (params.next()?, params.next()?, params.next()?);
        act(&context, DevAction::Edit(address, Edit::Storage(slot, value))).await?;
        Ok(true)
    })?;
    alias(module, "impersonateAccount", |params, context| async move {
        let address: Address = params.sequence().next()?;
        context.impersonated().insert(address);
        Ok(())
    })?;
    alias(module, "stopImpersonatingAccount", |params, context| async move {
        let address: Address = params.sequence().next()?;
        context.impersonated().remove(&address);
        Ok(())
    })?;
    module.register_method("eth_accounts", |_, _, _| dev_accounts())?;
    module.register_async_method("eth_sendTransaction", |params, context, _| async move {
        send(context, params.sequence().next()?).await
    })?;
    Ok(())
}

/// One method under both names that tools call it by.
fn alias<F, T>(
    module: &mut RpcModule<Context>,
    name: &str,
    method: fn(Params<'static>, Arc<Context>) -> F,
) -> Result<(), RegisterMethodError>
where
    F: Future<Output = RpcResult<T>> + Send + 'static,
    T: serde::Serialize + Clone + Send + 'static,
{
    for prefix in ["anvil", "hardhat"] {
        let name: &'static str = format!("{prefix}_{name}").leak();
        module.register_async_method(name, move |params, context, _| method(params, context))?;
    }
    Ok(())
}

async fn mine(context: &Context) -> RpcResult<()> {
    ask(context, Command::Mine).await
}

async fn act(context: &Context, action: DevAction) -> RpcResult<()> {
    ask(context, |done| Command::Dev(action, done)).await
}

async fn ask(context: &Context, command: impl FnOnce(Done) -> Command) -> RpcResult<()> {
    let (done, answer) = oneshot::channel();
    let stopped = || refused("the node is stopping");
    context.commands.send(command(done)).map_err(|_| stopped())?;
    answer.await.map_err(|_| stopped())?.map_err(refused)
}

/// Fills in what the request leaves open, signs it if the sender is a development account, and sends
/// it. An impersonated account sends without a signature.
async fn send(context: Arc<Context>, request: TransactionRequest) -> RpcResult<B256> {
    let from = request.from.ok_or_else(|| invalid("a transaction needs a sender: \"from\""))?;
    let filling = Arc::clone(&context);
    let tx = tokio::task::spawn_blocking(move || fill(&filling, &request, from));
    let tx = tx.await.map_err(internal)??;
    let tx = if context.impersonated().contains(&from) {
        // Unlike any real one, and unlike that of another sender.
        let signature = Signature::new(U256::from_be_slice(from.as_slice()), U256::from(1), false);
        signed_tx(tx, signature, from)
    } else if let Some(index) = dev_accounts().iter().position(|account| *account == from) {
        let signature = sign(DEV_KEYS[index], tx.signature_hash())?;
        signed_tx(tx, signature, from)
    } else {
        return Err(refused(format!(
            "no key of {from} is here: send a signed transaction, or impersonate the account"
        )));
    };
    send_all(&context, vec![Ok(Arc::new(tx))]).await.pop().unwrap_or_else(|| Err(internal("lost")))
}

fn fill(context: &Context, request: &TransactionRequest, from: Address) -> RpcResult<TxEip1559> {
    let gas_limit = match request.gas {
        Some(gas) => gas,
        None => estimate(context, request, None, Overrides::default())?.to(),
    };
    let base_fee = context.chain.rules.next_base_fee(&context.chain.head().header);
    let tip = request.max_priority_fee_per_gas.unwrap_or(TIP);
    let fee_cap = request.max_fee_per_gas.or(request.gas_price);
    Ok(TxEip1559 {
        chain_id: context.chain.rules.chain_id,
        nonce: request.nonce.unwrap_or_else(|| context.chain.pending_nonce(from)),
        gas_limit,
        max_fee_per_gas: fee_cap.unwrap_or_else(|| 2 * u128::from(base_fee) + tip),
        max_priority_fee_per_gas: fee_cap.map_or(tip, |cap| tip.min(cap)),
        to: request.to.unwrap_or(TxKind::Create),
        value: request.value.unwrap_or_default(),
        access_list: request.access_list.clone().unwrap_or_default(),
        input: request.input.clone().into_input().unwrap_or_default(),
    })
}

fn signed_tx(tx: TxEip1559, signature: Signature, from: Address) -> SignedTx {
    let tx = OpTxEnvelope::Eip1559(tx.into_signed(signature));
    let encoded = tx.encoded_2718().into();
    SignedTx { tx: Recovered::new_unchecked(tx, from), encoded }
}

fn sign(key: B256, digest: B256) -> RpcResult<Signature> {
    let key = SecretKey::from_slice(key.as_slice()).map_err(internal)?;
    let signature = SECP256K1.sign_ecdsa_recoverable(&Message::from_digest(digest.0), &key);
    let (id, bytes) = signature.serialize_compact();
    Ok(Signature::from_bytes_and_parity(&bytes, i32::from(id) != 0))
}

#[cfg(test)]
mod tests {
    use alloy_consensus::transaction::SignerRecoverable;

    use super::*;

    #[test]
    fn the_development_keys_are_those_of_the_development_accounts() {
        for (account, key) in dev_accounts().into_iter().zip(DEV_KEYS) {
            let tx = TxEip1559 { chain_id: 1, ..TxEip1559::default() };
            let signature = sign(key, tx.signature_hash()).unwrap();
            let tx = OpTxEnvelope::Eip1559(tx.into_signed(signature));
            assert_eq!(tx.recover_signer().unwrap(), account);
        }
    }
}
