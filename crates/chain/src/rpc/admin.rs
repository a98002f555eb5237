//! Stopping and starting block production, where the operator allows it.

use alloy_primitives::B256;
use jsonrpsee::{RpcModule, core::RegisterMethodError};
use tokio::sync::oneshot;

use super::{
    context::Context,
    error::{RpcResult, refused},
};
use crate::producer::{Command, Sequencing};

/// The methods exist only where they are enabled; elsewhere they are unknown.
pub(super) fn register(module: &mut RpcModule<Context>) -> Result<(), RegisterMethodError> {
    module.register_async_method("admin_sequencerActive", |_, context, _| async move {
        ask(&context, |done| Command::Sequencing(Sequencing::Query, done)).await.map(|s| s.active)
    })?;
    module.register_async_method("admin_startSequencer", |params, context, _| async move {
        let head: B256 = params.sequence().next()?;
        let before = ask(&context, |done| Command::Sequencing(Sequencing::Query, done)).await?;
        if before.active {
            return Err(refused("sequencer already running"));
        }
        if before.head != head {
            return Err(refused(format!(
                "block hash does not match: head {}, received {head}",
                before.head
            )));
        }
        ask(&context, |done| Command::Sequencing(Sequencing::Start, done)).await?;
        RpcResult::Ok(())
    })?;
    module.register_async_method("admin_stopSequencer", |_, context, _| async move {
        let before = ask(&context, |done| Command::Sequencing(Sequencing::Query, done)).await?;
        if !before.active {
            return Err(refused("sequencer not running"));
        }
        let after = ask(&context, |done| Command::Sequencing(Sequencing::Stop, done)).await?;
        RpcResult::Ok(after.head)
    })?;
    Ok(())
}

async fn ask<T>(
    context: &Context,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> RpcResult<T> {
    let (done, answer) = oneshot::channel();
    let stopped = || refused("the node is stopping");
    context.commands.send(command(done)).map_err(|_| stopped())?;
    answer.await.map_err(|_| stopped())
}
