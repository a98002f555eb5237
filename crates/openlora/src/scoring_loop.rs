//! Log-likelihoods of answers on the exact path, in a thread of their own.

use std::sync::Arc;

use openledger_model::{Adapter, Decoder, ScoreRequest as ModelScoreRequest};
use tokio::sync::{mpsc, oneshot};

use crate::{Error, ScoreRequest, adapter_catalog::AdapterSource};

/// A scoring request and where its likelihoods go.
pub(crate) struct Scoring {
    pub(crate) request: ScoreRequest,
    /// One for each entry of `request.adapters`.
    pub(crate) sources: Vec<Option<AdapterSource>>,
    pub(crate) reply: oneshot::Sender<Result<Vec<Vec<i64>>, Error>>,
}

/// Runs until nobody can ask any more.
pub(crate) fn run(base: &Decoder, mut scoring: mpsc::Receiver<Scoring>) {
    while let Some(Scoring { request, sources, reply }) = scoring.blocking_recv() {
        // The asker may have gone.
        drop(reply.send(score(base, &request, &sources)));
    }
}

fn score(
    base: &Decoder,
    request: &ScoreRequest,
    sources: &[Option<AdapterSource>],
) -> Result<Vec<Vec<i64>>, Error> {
    let failed = |error: openledger_model::Error| Error::Model(error.to_string());
    let read = |source: &Option<AdapterSource>| match source {
        None => Ok(None),
        Some(AdapterSource::Memory(adapter)) => Ok(Some(Arc::clone(adapter))),
        Some(AdapterSource::Folder(path)) => {
            Adapter::load(path, base).map(|adapter| Some(Arc::new(adapter))).map_err(failed)
        }
        Some(AdapterSource::Packed(path)) => {
            let path = path.display();
            Err(Error::Model(format!(
                "{path} is packed for serving; score its PEFT folder instead"
            )))
        }
    };
    let adapters: Vec<Option<Arc<Adapter>>> = sources.iter().map(read).collect::<Result<_, _>>()?;
    let tokens = [request.prompt.as_slice(), &request.answer].concat();
    let requests: Vec<ModelScoreRequest<'_>> = adapters
        .iter()
        .map(|adapter| ModelScoreRequest {
            tokens: &tokens,
            answer_start: request.prompt.len(),
            adapter: adapter.as_deref(),
        })
        .collect();
    base.log_likelihoods(&requests).map_err(failed)
}
