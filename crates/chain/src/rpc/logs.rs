//! Log queries, and filters that are asked again and again.

use std::{
    ops::RangeInclusive,
    sync::{MutexGuard, PoisonError},
};

use alloy_primitives::U64;
use alloy_rpc_types_eth::{Filter, FilterBlockOption, FilterChanges, Log};
use jsonrpsee::{RpcModule, core::RegisterMethodError};

use super::{
    context::{Context, unknown_block},
    convert,
    error::{RpcResult, internal, invalid, limit, refused},
    filters::{Changes, Filters, Kind},
    limits::{FILTER_ALTERNATIVES_MAX, LOG_BLOCKS_MAX, LOGS_MAX},
};
use crate::{chain::Event, execution::SealedBlock};

pub(super) fn register(module: &mut RpcModule<Context>) -> Result<(), RegisterMethodError> {
    module.register_blocking_method("eth_getLogs", |params, context, _| {
        let filter: Filter = params.sequence().next()?;
        logs(&context, &filter)
    })?;
    module.register_method("eth_newFilter", |params, context, _| {
        let filter: Filter = params.sequence().next()?;
        check(&filter)?;
        install(context, Kind::Logs(Box::new(filter)))
    })?;
    module.register_method("eth_newBlockFilter", |_, context, _| install(context, Kind::Blocks))?;
    module.register_method("eth_newPendingTransactionFilter", |_, context, _| {
        install(context, Kind::Transactions(context.chain.subscribe()))
    })?;
    module.register_method("eth_uninstallFilter", |params, context, _| {
        let id: U64 = params.sequence().next()?;
        RpcResult::Ok(filters(context).remove(id))
    })?;
    module.register_blocking_method("eth_getFilterChanges", |params, context, _| {
        changes(&context, params.sequence().next()?)
    })?;
    module.register_blocking_method("eth_getFilterLogs", |params, context, _| {
        let id: U64 = params.sequence().next()?;
        let filter = filters(&context).logs(id).ok_or_else(unknown_filter)?;
        logs(&context, &filter)
    })?;
    Ok(())
}

fn filters(context: &Context) -> MutexGuard<'_, Filters> {
    context.filters.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unknown_filter() -> jsonrpsee::types::ErrorObjectOwned {
    refused("filter not found")
}

fn install(context: &Context, kind: Kind) -> RpcResult<U64> {
    let next_block = context.chain.head().number() + 1;
    filters(context).install(kind, next_block).ok_or_else(|| {
        limit("too many filters are installed: remove some with eth_uninstallFilter")
    })
}

fn changes(context: &Context, id: U64) -> RpcResult<FilterChanges> {
    let head = context.chain.head().number();
    let changes = filters(context).changes(id, head).ok_or_else(unknown_filter)?;
    match changes {
        Changes::Blocks(range) => {
            let mut hashes = Vec::new();
            for number in range {
                let block = context.chain.block(number).map_err(internal)?;
                hashes.extend(block.map(|block| block.hash));
            }
            Ok(FilterChanges::Hashes(hashes))
        }
        Changes::Logs(filter, range) => {
            let (from, to) = match filter.block_option {
                FilterBlockOption::Range { from_block, to_block } => (from_block, to_block),
                FilterBlockOption::AtBlockHash(_) => (None, None),
            };
            let from = from.map_or(0, |tag| context.tag(tag)).max(*range.start());
            let to = to.map_or(u64::MAX, |tag| context.tag(tag)).min(*range.end());
            let range = from..=to;
            select(context, &filter, range).map(FilterChanges::Logs)
        }
        Changes::Transactions(events) => {
            let hashes = events.into_iter().filter_map(|event| match event {
                Event::Transaction(tx) => Some(tx.hash()),
                Event::Block(_) => None,
            });
            Ok(FilterChanges::Hashes(hashes.collect()))
        }
    }
}

/// Refuses a filter with too many alternatives.
pub(super) fn check(filter: &Filter) -> RpcResult<()> {
    let most = filter.topics.iter().map(|topic| topic.len()).max().unwrap_or_default();
    if filter.address.len().max(most) > FILTER_ALTERNATIVES_MAX {
        return Err(limit(format!(
            "too many addresses or topics, the limit is {FILTER_ALTERNATIVES_MAX} of each"
        )));
    }
    Ok(())
}

fn logs(context: &Context, filter: &Filter) -> RpcResult<Vec<Log>> {
    check(filter)?;
    match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let block = context.block_by_hash(hash)?.ok_or_else(unknown_block)?;
            Ok(matching(&block, filter).collect())
        }
        FilterBlockOption::Range { from_block, to_block } => {
            let head = context.chain.head().number();
            let from = from_block.map_or(head, |tag| context.tag(tag));
            let to = to_block.map_or(head, |tag| context.tag(tag)).min(head);
            if from_block.is_some() && to_block.is_some_and(|tag| from > context.tag(tag)) {
                return Err(invalid("invalid block range: fromBlock is after toBlock"));
            }
            if to.saturating_sub(from) >= LOG_BLOCKS_MAX {
                return Err(limit(format!(
                    "the range of {} blocks is too wide, the limit is {LOG_BLOCKS_MAX}",
                    to - from + 1
                )));
            }
            select(context, filter, from..=to)
        }
    }
}

/// Logs of the blocks in `range` that match.
fn select(context: &Context, filter: &Filter, range: RangeInclusive<u64>) -> RpcResult<Vec<Log>> {
    let mut found = Vec::new();
    for number in context.chain.blocks_with_logs(range) {
        let block = context.chain.block(number).map_err(internal)?.ok_or_else(unknown_block)?;
        found.extend(matching(&block, filter));
        if found.len() > LOGS_MAX {
            return Err(limit(format!(
                "query returned more than {LOGS_MAX} results: ask for fewer blocks, up to {number}"
            )));
        }
    }
    Ok(found)
}

/// Logs of `block` that match.
pub(super) fn matching<'a>(
    block: &'a SealedBlock,
    filter: &'a Filter,
) -> impl Iterator<Item = Log> + 'a {
    let possible = filter.matches_bloom(block.header.logs_bloom);
    let logs = possible.then(|| convert::logs(block)).into_iter().flatten();
    logs.filter(|log| filter.matches(&log.inner))
}
