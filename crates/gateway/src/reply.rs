//! Answers on their way to a client: one document, or server-sent events.

use std::convert::Infallible;

use axum::{
    Json,
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use futures_util::{Stream, StreamExt, pin_mut, stream};
use serde_json::Value;

use crate::{
    openai::{ApiError, Choice, Heading, Usage},
    text_model::Shown,
};

/// A finished answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) choice: Choice,
    /// Of several answers to one prompt only the first counts it.
    pub(crate) usage: Usage,
    /// Who is paid for it, where somebody is.
    pub(crate) attribution: Option<Value>,
}

/// What becomes of the choices of a request: of each in order, choices interleaved.
#[derive(Debug)]
pub(crate) enum Piece {
    /// More text of a choice.
    Text(usize, Shown),
    /// The end of a choice.
    Done(Box<Answer>),
    /// The end of a choice, without an answer.
    Failed(ApiError),
}

/// The document of all choices. The error of one is the error of all.
pub(crate) async fn whole(
    heading: &Heading,
    choices: usize,
    pieces: impl Stream<Item = Piece>,
) -> Result<Response, ApiError> {
    pin_mut!(pieces);
    let mut answers: Vec<Answer> = Vec::with_capacity(choices);
    while answers.len() < choices {
        match pieces.next().await {
            Some(Piece::Text(..)) => {}
            Some(Piece::Done(answer)) => answers.push(*answer),
            Some(Piece::Failed(error)) => return Err(error),
            None => return Err(ApiError::internal("the generation ended without an answer")),
        }
    }
    answers.sort_by_key(|answer| answer.choice.index);
    let usage = answers.iter().map(|answer| answer.usage).fold(Usage::default(), Usage::plus);
    let attributions: Vec<Value> =
        answers.iter().filter_map(|answer| answer.attribution.clone()).collect();
    let choices: Vec<Choice> = answers.into_iter().map(|answer| answer.choice).collect();
    Ok(Json(heading.document(&choices, usage, &attributions)).into_response())
}

/// The chunks of all choices, as they come.
pub(crate) fn streamed(
    heading: Heading,
    choices: usize,
    usage_wanted: bool,
    pieces: impl Stream<Item = Piece> + Send + 'static,
) -> Response {
    let first: Vec<_> =
        (0..choices).filter_map(|index| heading.role_chunk(index)).map(|c| data(&c)).collect();
    let mut progress = Progress { sent: vec![0; choices], left: choices, usage: Usage::default() };
    let rest =
        pieces.flat_map(move |piece| stream::iter(progress.chunks(&heading, usage_wanted, piece)));
    Sse::new(stream::iter(first).chain(rest)).into_response()
}

/// How far a stream is.
struct Progress {
    /// Bytes of text sent, by choice.
    sent: Vec<usize>,
    /// Choices that have not ended.
    left: usize,
    usage: Usage,
}

impl Progress {
    fn chunks(
        &mut self,
        heading: &Heading,
        usage_wanted: bool,
        piece: Piece,
    ) -> Vec<Result<Event, Infallible>> {
        match piece {
            Piece::Text(index, Shown { text, logprobs }) => {
                let logprobs = (!logprobs.is_empty()).then_some(&logprobs[..]);
                let chunk = heading.text_chunk(index, &text, self.sent[index], logprobs);
                self.sent[index] += text.len();
                vec![data(&chunk)]
            }
            Piece::Done(answer) => {
                let Answer { choice: Choice { index, finish, .. }, usage, attribution } = *answer;
                let last = heading.finish_chunk(index, finish, attribution.as_ref());
                (self.usage, self.left) = (self.usage.plus(usage), self.left - 1);
                let mut chunks = vec![data(&last)];
                if self.left == 0 {
                    chunks.extend(usage_wanted.then(|| data(&heading.usage_chunk(self.usage))));
                    chunks.push(Ok(Event::default().data("[DONE]")));
                }
                chunks
            }
            Piece::Failed(error) => vec![data(&error.body())],
        }
    }
}

fn data(value: &Value) -> Result<Event, Infallible> {
    Ok(Event::default().data(value.to_string()))
}
