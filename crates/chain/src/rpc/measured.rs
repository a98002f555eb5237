//! Counts and times every call, those in batches too, and answers subscriptions that came over HTTP.

use std::{
    future::{Future, ready},
    time::Instant,
};

use futures_util::future::Either;
use jsonrpsee::{
    core::middleware::{Batch, BatchEntry, Notification, RpcServiceT},
    server::{BatchResponseBuilder, MethodResponse},
    types::Request,
};

use super::{gate::PlainHttp, limits::RESPONSE_BYTES_MAX, subscribe};
use crate::metrics::MethodTable;

/// Stands between the server and the methods.
#[derive(Clone)]
pub(super) struct Measured<S> {
    pub(super) service: S,
    pub(super) methods: MethodTable,
}

impl<S> RpcServiceT for Measured<S>
where
    S: RpcServiceT<
            MethodResponse = MethodResponse,
            NotificationResponse = MethodResponse,
            BatchResponse = MethodResponse,
        > + Clone
        + Send
        + Sync
        + 'static,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let started = Instant::now();
        let methods = self.methods.clone();
        let method = methods.find(request.method_name());
        let refusal = request
            .extensions()
            .get::<PlainHttp>()
            .and_then(|PlainHttp| subscribe::refusal_over_http(request.method_name()))
            .map(|refusal| MethodResponse::error(request.id.clone().into_owned(), refusal));
        let answer = match refusal {
            Some(refusal) => Either::Left(ready(refusal)),
            None => Either::Right(self.service.call(request)),
        };
        async move {
            let answer = answer.await;
            methods.answered(method, answer.as_error_code(), started.elapsed());
            answer
        }
    }

    /// As the server does it by itself, with [`call`](Self::call) for each entry.
    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let measured = self.clone();
        async move {
            let mut answers = BatchResponseBuilder::new_with_limit(RESPONSE_BYTES_MAX as usize);
            let mut notified = false;
            for entry in batch {
                let answer = match entry {
                    Ok(BatchEntry::Call(request)) => measured.call(request).await,
                    Ok(BatchEntry::Notification(notification)) => {
                        notified = true;
                        measured.notification(notification).await;
                        continue;
                    }
                    Err(malformed) => {
                        let (error, id) = malformed.into_parts();
                        MethodResponse::error(id, error)
                    }
                };
                if let Err(too_large) = answers.append(answer) {
                    return too_large;
                }
            }
            // Notifications alone are not answered; nothing at all is an invalid request.
            if answers.is_empty() && notified {
                return MethodResponse::notification();
            }
            MethodResponse::from_batch(answers.finish())
        }
    }

    fn notification<'a>(
        &self,
        notification: Notification<'a>,
    ) -> impl Future<Output = MethodResponse> + Send + 'a {
        self.service.notification(notification)
    }
}
