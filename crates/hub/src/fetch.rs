//! Fetching what the cache lacks of one repository.
//!
//! `hf-hub` writes into a cache of its own, `.incoming` inside the repository's folder, where a download that ended early
//! goes on. A file moves from there into the real cache when it is whole and checked.

use crate::cache::{CachedRepository, first_missing, read_capped};
use crate::patience::{Pulse, with_patience};
use crate::repository::{LISTING_BYTES_MAX, Listing, RemoteFile, is_sha256};
use crate::wanted::{Wanted, WeightsIn, check_size, shards};
use crate::{Content, Error, Event, Hub, HubName};
use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};
use openledger_model::{WEIGHT_BYTES_MAX, WEIGHT_INDEX_BYTES_MAX};
use sha2::{Digest, Sha256};
use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Connections that may be lost within one file before it is given up.
const ATTEMPTS: usize = 3;
/// Bytes that are hashed at a time.
const HASHED_BYTES: usize = 1 << 20;

/// One repository that is being fetched.
pub(crate) struct Fetch<'a> {
    hub: &'a Hub,
    name: &'a HubName,
    cached: CachedRepository,
    incoming: PathBuf,
    api: Api,
}

/// A file that the cache lacks.
struct Missing {
    file: String,
    bytes: u64,
}

/// Why an attempt failed.
enum Failed {
    /// May go on where it stopped.
    Connection(String),
    Status(u16),
    /// What is kept of it is of no use.
    Kept(String),
    /// What came back is none of the Hub's.
    Answer(String),
    Other(String),
}

impl<'a> Fetch<'a> {
    pub(crate) fn new(
        hub: &'a Hub,
        name: &'a HubName,
        cached: CachedRepository,
    ) -> Result<Self, Error> {
        // The library compares paths, so all of them are whole.
        let folder = std::path::absolute(&cached.folder).map_err(Error::file(&cached.folder))?;
        let incoming = folder.join(".incoming");
        let api = ApiBuilder::from_cache(Cache::new(incoming.clone()))
            .with_endpoint(hub.endpoint.clone())
            .with_token(hub.token.clone())
            .with_progress(false)
            .build()
            .map_err(|error| Error::Unreachable {
                name: name.clone(),
                endpoint: hub.endpoint.clone(),
                why: error.to_string(),
            })?;
        Ok(Self { hub, name, cached: CachedRepository { folder }, incoming, api })
    }

    /// Fetches what is missing and returns the snapshot.
    pub(crate) fn run(
        self,
        content: Content,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<PathBuf, Error> {
        let _one_at_a_time = self.lock(tell)?;
        let snapshot = self.cached.snapshot_of(&self.name.revision);
        if first_missing(&snapshot, content).is_none() {
            return Ok(snapshot);
        }
        let listing = self.listing()?;
        let plan = self.plan(&listing, content, tell)?;
        let bytes = plan.iter().map(|missing| missing.bytes).sum();
        let (name, endpoint) = (self.name, self.hub.endpoint.as_str());
        tell(Event::Begin { name, endpoint, files: plan.len(), bytes });
        for missing in &plan {
            self.fetch(&listing, missing, tell)?;
        }
        let snapshot = self.cached.snapshot(&listing.commit);
        if let Some(lacks) = first_missing(&snapshot, content) {
            let source = std::io::Error::other("it was fetched and is not there");
            return Err(Error::File { path: lacks, source });
        }
        if self.name.revision != listing.commit {
            self.cached.set_ref(&self.name.revision, &listing.commit)?;
        }
        // What is left of it are locks and links.
        drop(fs::remove_dir_all(&self.incoming));
        Ok(snapshot)
    }

    /// Held while one process fetches. The system frees it whatever becomes of the process. It stands where Hugging
    /// Face's tools have their locks, so that a name that leads nowhere leaves no folder behind.
    fn lock(&self, tell: &mut dyn FnMut(Event<'_>)) -> Result<File, Error> {
        let cache = self.cached.folder.parent().expect("a repository lies in the cache");
        let folder = cache.join(".locks").join(self.name.folder());
        fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
        let path = folder.join("incoming.lock");
        let file = File::create(&path).map_err(Error::file(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                tell(Event::Waiting);
                file.lock().map_err(Error::file(&path))?;
            }
            Err(TryLockError::Error(source)) => return Err(Error::File { path, source }),
        }
        Ok(file)
    }

    fn repository(&self, revision: &str) -> Repo {
        let (repository, revision) = (self.name.repository.clone(), revision.to_owned());
        Repo::with_revision(repository, RepoType::Model, revision)
    }

    /// What the Hub has.
    fn listing(&self) -> Result<Listing, Error> {
        let repository = self.api.repo(self.repository(&self.name.revision));
        let answer = with_patience(self.hub.patience, &mut |_| {}, move |_: Pulse<_>| {
            let mut answer = repository.info_request().query("blobs", "true").call()?;
            answer.body_mut().with_config().limit(LISTING_BYTES_MAX).read_to_vec()
        });
        let answer: Result<Vec<u8>, Failed> = match answer {
            Ok(answer) => answer.map_err(|error| Failed::from(ApiError::from(Box::new(error)))),
            Err(_) => Err(self.silence()),
        };
        let json = answer.map_err(|failed| match failed {
            Failed::Connection(why) | Failed::Other(why) | Failed::Kept(why) => {
                Error::Unreachable {
                    name: self.name.clone(),
                    endpoint: self.hub.endpoint.clone(),
                    why,
                }
            }
            Failed::Status(status) => self.status(status, "list of files"),
            Failed::Answer(why) => self.no_hub(why),
        })?;
        Listing::from_json(&json).map_err(|why| self.no_hub(why))
    }

    /// What is to be fetched, small files first. An index of weights is fetched here, because it names the others.
    fn plan(
        &self,
        listing: &Listing,
        content: Content,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Vec<Missing>, Error> {
        let has = |file: &str| listing.files.contains_key(file);
        let mut plan = Vec::new();
        for wanted in content.files().iter().filter(|wanted| wanted.needed || has(wanted.name)) {
            plan.extend(self.missing(listing, wanted.name, wanted.bytes_max)?);
        }
        if content == Content::Adapter {
            return Ok(plan);
        }
        let weights = WeightsIn::of(has).unwrap_or(WeightsIn::OneFile);
        let Wanted { name: first, bytes_max, .. } = weights.first_file();
        let first_missing = self.missing(listing, first, bytes_max)?;
        if weights == WeightsIn::OneFile {
            plan.extend(first_missing);
            return Ok(plan);
        }
        if let Some(index) = first_missing {
            self.fetch(listing, &index, tell)?;
        }
        let path = self.cached.snapshot(&listing.commit).join(first);
        let index = read_capped(&path, WEIGHT_INDEX_BYTES_MAX).unwrap_or_default();
        let why = |why| Error::Damaged { name: self.name.clone(), file: first.to_owned(), why };
        for shard in shards(&index).map_err(why)? {
            plan.extend(self.missing(listing, &shard, WEIGHT_BYTES_MAX)?);
        }
        Ok(plan)
    }

    /// A file, unless it is in the cache. One whose content is there, of another commit, is linked.
    fn missing(
        &self,
        listing: &Listing,
        file: &str,
        bytes_max: u64,
    ) -> Result<Option<Missing>, Error> {
        let none = || Error::NoFile { name: self.name.clone(), file: file.to_owned() };
        let mut remote = listing.files.get(file).ok_or_else(none)?.clone();
        if self.cached.snapshot(&listing.commit).join(file).is_file() {
            return Ok(None);
        }
        if remote.bytes.is_none() {
            remote = self.ask_for_size(&listing.commit, file)?;
        }
        check_size(&remote, bytes_max).map_err(|bytes| Error::TooLarge {
            name: self.name.clone(),
            file: file.to_owned(),
            bytes,
            max: bytes_max,
        })?;
        if let Some(content) = self.cached.has_content(&remote) {
            self.cached.publish(&content, &listing.commit, file)?;
            return Ok(None);
        }
        Ok(Some(Missing { file: file.to_owned(), bytes: remote.bytes.unwrap_or(0) }))
    }

    /// For Hubs whose list has no sizes.
    fn ask_for_size(&self, commit: &str, file: &str) -> Result<RemoteFile, Error> {
        let api = self.api.clone();
        let url = api.repo(self.repository(commit)).url(file);
        let asked = with_patience(self.hub.patience, &mut |_| {}, move |_: Pulse<_>| {
            api.metadata(&url).map(|about| (about.size() as u64, about.etag().to_owned()))
        });
        let (bytes, etag) = match asked {
            Ok(Ok(about)) => about,
            Ok(Err(error)) => return Err(self.failure(file, Failed::from(error))),
            Err(_) => return Err(self.failure(file, self.silence())),
        };
        Ok(RemoteFile { bytes: Some(bytes), content_name: Some(etag) })
    }

    /// Fetches one file, checks it and moves it into the cache.
    fn fetch(
        &self,
        listing: &Listing,
        missing: &Missing,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Error> {
        let (file, commit) = (missing.file.as_str(), listing.commit.as_str());
        let (mut attempt, mut told) = (1, 0);
        loop {
            let mut here = 0;
            let mut moved = |bytes| {
                here += bytes;
                // What an earlier attempt brought is not told again.
                if here > told {
                    tell(Event::Bytes(here - told));
                    told = here;
                }
            };
            let failed = match self.attempt(commit, file, &mut moved) {
                Ok(content) => match self.check(listing, missing, &content) {
                    Ok(()) => {
                        self.cached.publish(&content, commit, file)?;
                        tell(Event::File { file, bytes: missing.bytes });
                        return Ok(());
                    }
                    Err(why) => Failed::Kept(why),
                },
                Err(failed) => failed,
            };
            if let Failed::Kept(_) = failed {
                // From the beginning: a server that ignored where to go on, or a part of something else.
                drop(fs::remove_dir_all(self.incoming.join(self.name.folder())));
            }
            let again = matches!(failed, Failed::Kept(_) | Failed::Connection(_));
            if !again || attempt == ATTEMPTS {
                return Err(self.failure(file, failed));
            }
            attempt += 1;
        }
    }

    /// One attempt; returns where the file is.
    fn attempt(
        &self,
        commit: &str,
        file: &str,
        moved: &mut dyn FnMut(u64),
    ) -> Result<PathBuf, Failed> {
        struct Beats(Pulse<Result<PathBuf, ApiError>>);
        impl Progress for Beats {
            fn init(&mut self, _: usize, _: &str) {}
            fn update(&mut self, bytes: usize) {
                self.0.beat(bytes as u64);
            }
            fn finish(&mut self) {}
        }
        let repository = self.api.repo(self.repository(commit));
        let wanted = file.to_owned();
        let done = with_patience(self.hub.patience, moved, move |pulse| {
            repository.download_with_progress(&wanted, Beats(pulse))
        });
        let link = done.map_err(|_| self.silence())?.map_err(Failed::from)?;
        let content = fs::canonicalize(&link);
        let inside = fs::canonicalize(&self.incoming);
        match (content, inside) {
            (Ok(content), Ok(inside)) if content.starts_with(&inside) => Ok(content),
            _ => Err(Failed::Other(format!("{} is not a file of the cache", link.display()))),
        }
    }

    /// Errors say how a file differs from what was announced.
    fn check(&self, listing: &Listing, missing: &Missing, content: &Path) -> Result<(), String> {
        let is = fs::metadata(content).map_err(|error| error.to_string())?.len();
        if is != missing.bytes {
            return Err(format!("{is} bytes came, {} were announced", missing.bytes));
        }
        let announced = listing.files.get(&missing.file).and_then(|f| f.content_name.as_deref());
        let named = content.file_name().and_then(|name| name.to_str());
        let Some(sha256) = announced.or(named).filter(|name| is_sha256(name)) else {
            return Ok(());
        };
        let is = sha256_of(content).map_err(|error| error.to_string())?;
        if is.eq_ignore_ascii_case(sha256) {
            return Ok(());
        }
        Err(format!("its SHA-256 is {is}, {sha256} was announced"))
    }

    fn silence(&self) -> Failed {
        let seconds = self.hub.patience.as_secs_f64();
        // Not tried again: the thread that waits still holds the part.
        Failed::Other(format!("nothing came for {seconds} seconds"))
    }

    fn failure(&self, file: &str, failed: Failed) -> Error {
        let (name, file) = (self.name.clone(), file.to_owned());
        match failed {
            Failed::Connection(why) | Failed::Other(why) => Error::Interrupted { name, file, why },
            Failed::Kept(why) => Error::Damaged { name, file, why },
            Failed::Status(status) => self.status(status, &file),
            Failed::Answer(why) => self.no_hub(format!("{file}: {why}")),
        }
    }

    fn status(&self, status: u16, what: &str) -> Error {
        let (name, endpoint) = (self.name.clone(), self.hub.endpoint.clone());
        let token = self.hub.token.is_some();
        match status {
            401 | 403 => Error::Refused { name, endpoint, status, token },
            _ => Error::Status { name, endpoint, what: what.to_owned(), status },
        }
    }

    fn no_hub(&self, why: String) -> Error {
        Error::NoHub { endpoint: self.hub.endpoint.clone(), why }
    }
}

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        const RANGE_NOT_SATISFIABLE: u16 = 416;
        match &error {
            ApiError::RequestError(request) => match request.as_ref() {
                // What is kept is longer than the file, or just as long.
                ureq::Error::StatusCode(RANGE_NOT_SATISFIABLE) => Self::Kept(error.to_string()),
                ureq::Error::StatusCode(status) => Self::Status(*status),
                _ => Self::Connection(error.to_string()),
            },
            ApiError::InvalidResume => Self::Kept(error.to_string()),
            ApiError::MissingHeader(_)
            | ApiError::InvalidHeader(_)
            | ApiError::ParseIntError(_) => Self::Answer(error.to_string()),
            ApiError::IoError(io) if io.kind() == std::io::ErrorKind::StorageFull => {
                Self::Other(error.to_string())
            }
            ApiError::IoError(_) => Self::Connection(error.to_string()),
            _ => Self::Other(error.to_string()),
        }
    }
}

fn sha256_of(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut piece = vec![0; HASHED_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            bytes => hash.update(&piece[..bytes]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
