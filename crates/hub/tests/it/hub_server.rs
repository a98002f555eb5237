//! A Hub on loopback: the list of a repository's files, and the files, as the client asks for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::get;
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};

/// The commit that `main` stands for.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How it behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manners {
    /// The token without which it answers 401.
    pub(crate) token: Option<&'static str>,
    /// Of this file, connections end after half of what is asked for, so many times.
    pub(crate) cut: Option<(&'static str, usize)>,
    /// Of this file it sends nothing after the headers.
    pub(crate) silent: Option<&'static str>,
    /// Of this file other bytes of the same length come.
    pub(crate) false_bytes: Option<&'static str>,
    /// It sends files from the beginning, wherever the client wants to go on.
    pub(crate) ignores_ranges: bool,
    /// Its list has names alone.
    pub(crate) no_sizes: bool,
}

#[derive(Debug)]
struct Repository {
    files: BTreeMap<&'static str, Vec<u8>>,
    manners: Mutex<Manners>,
    asked: Mutex<Vec<String>>,
}

/// It runs until the tests end.
#[derive(Debug)]
pub(crate) struct HubServer {
    pub(crate) endpoint: String,
    repository: Arc<Repository>,
}

impl HubServer {
    /// Serves `org/tiny`.
    pub(crate) fn start(files: &[(&'static str, Vec<u8>)], manners: Manners) -> Self {
        let repository = Arc::new(Repository {
            files: files.iter().cloned().collect(),
            manners: Mutex::new(manners),
            asked: Mutex::default(),
        });
        let app = Router::new()
            .route("/api/models/org/tiny/revision/{revision}", get(list))
            .route("/org/tiny/resolve/{revision}/{file}", get(file))
            .with_state(Arc::clone(&repository));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        // On a thread of its own, so that a test may be asynchronous or not.
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, app).await
            })
        });
        Self { endpoint, repository }
    }

    pub(crate) fn behave(&self, manners: Manners) {
        *self.repository.manners.lock().unwrap() = manners;
    }

    /// What was asked for since the last call: `list`, or `file from byte`; questions for a size are left out.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.repository.asked.lock().unwrap())
    }
}

fn answer(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
}

impl Repository {
    fn note(&self, what: String) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    fn refused(&self, headers: &HeaderMap) -> Option<Response<Body>> {
        let token = self.manners.lock().unwrap().token?;
        let sent = headers.get("authorization").and_then(|value| value.to_str().ok());
        let right = sent == Some(&format!("Bearer {token}"));
        (!right).then(|| answer(StatusCode::UNAUTHORIZED, "Invalid credentials"))
    }
}

/// Large files have a SHA-256, as with git-lfs.
fn is_large(file: &str) -> bool {
    file.ends_with(".safetensors")
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Forty digits, as git's ids have; what they are of is no matter here.
fn id(file: &str, bytes: &[u8]) -> String {
    if is_large(file) { sha256(bytes) } else { sha256(bytes)[..40].to_owned() }
}

async fn list(
    State(repository): State<Arc<Repository>>,
    Path(revision): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    if let Some(refused) = repository.refused(&headers) {
        return refused;
    }
    if revision != "main" && revision != COMMIT {
        return answer(StatusCode::NOT_FOUND, "Revision Not Found");
    }
    repository.note("list".into());
    let no_sizes = repository.manners.lock().unwrap().no_sizes;
    let siblings: Vec<String> = repository
        .files
        .iter()
        .map(|(file, bytes)| match (no_sizes, is_large(file)) {
            (true, _) => format!(r#"{{"rfilename": "{file}"}}"#),
            (_, false) => format!(
                r#"{{"rfilename": "{file}", "size": {}, "blobId": "{}"}}"#,
                bytes.len(),
                id(file, bytes)
            ),
            (_, true) => format!(
                r#"{{"rfilename": "{file}", "size": {0}, "blobId": "{1}", "lfs": {{"sha256": "{1}", "size": {0}}}}}"#,
                bytes.len(),
                id(file, bytes)
            ),
        })
        .collect();
    answer(
        StatusCode::OK,
        format!(r#"{{"sha": "{COMMIT}", "siblings": [{}]}}"#, siblings.join(",")),
    )
}

async fn file(
    State(repository): State<Arc<Repository>>,
    Path((_, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response<Body> {
    if let Some(refused) = repository.refused(&headers) {
        return refused;
    }
    let Some((file, whole)) = repository.files.get_key_value(file.as_str()) else {
        return answer(StatusCode::NOT_FOUND, "Entry not found");
    };
    let manners = repository.manners.lock().unwrap().clone();
    let range = headers.get("range").and_then(|value| value.to_str().ok());
    let range = range.and_then(|range| range.strip_prefix("bytes=")).unwrap_or("0-");
    let (from, to) = range.split_once('-').expect("one range");
    let from: usize = from.parse().expect("a number");
    let to = to.parse().map_or(whole.len(), |last: usize| last + 1);
    let is_question = (from, to) == (0, 1);
    if !is_question {
        repository.note(format!("{file} from {from}"));
    }
    if from >= whole.len() {
        return answer(StatusCode::RANGE_NOT_SATISFIABLE, "");
    }
    let from = if manners.ignores_ranges && !is_question { 0 } else { from };
    let mut bytes = whole[from..to].to_vec();
    if manners.false_bytes == Some(file) {
        bytes.iter_mut().for_each(|byte| *byte ^= 1);
    }
    let length = bytes.len();
    let cut = manners.cut.is_some_and(|(cut, times)| cut == *file && times > 0) && !is_question;
    let body = if cut {
        let mut manners = repository.manners.lock().unwrap();
        manners.cut = manners.cut.map(|(file, times)| (file, times - 1));
        bytes.truncate(length / 2);
        let lost = std::io::Error::other("the line was cut");
        // What came before must be on its way first.
        let end = stream::once(async {
            tokio::task::yield_now().await;
            Err(lost)
        });
        Body::from_stream(stream::once(async { Ok(Bytes::from(bytes)) }).chain(end))
    } else if manners.silent == Some(file) && !is_question {
        Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>())
    } else {
        Body::from(bytes)
    };
    Response::builder()
        .status(StatusCode::PARTIAL_CONTENT)
        .header("etag", format!("\"{}\"", id(file, whole)))
        .header("x-repo-commit", COMMIT)
        .header("content-length", length)
        .header("content-range", format!("bytes {from}-{}/{}", to - 1, whole.len()))
        .body(body)
        .unwrap()
}
