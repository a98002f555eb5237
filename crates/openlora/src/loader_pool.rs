//! Threads that read adapters, so that no step waits for a disk.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Instant,
};

use crate::{AdapterHash, AdapterId, adapter_catalog::AdapterSource};

/// An adapter as the model reads it.
#[derive(Debug)]
pub struct LoadedAdapter<A> {
    /// Ready to be used.
    pub adapter: Arc<A>,
    /// Its content.
    pub hash: AdapterHash,
    /// Memory it takes.
    pub bytes: usize,
}

/// Turns what was registered into what the model reads.
pub trait AdapterLoader: Send + Sync + 'static {
    /// An adapter as the model reads it.
    type Adapter: Send + Sync + 'static;

    /// A copy of the base with a blend merged in, as the model reads it.
    type Merged: Send + Sync + 'static;

    /// Memory that an adapter with a file of this size will take, about.
    fn bytes_expected(&self, file_bytes: u64) -> usize;

    /// Reads an adapter. Errors: what is wrong with it, for whoever asked for it.
    fn load(&self, source: &AdapterSource) -> Result<LoadedAdapter<Self::Adapter>, String>;

    /// Memory that a copy of the base with this blend merged in will take.
    fn merged_bytes(&self, blend: &[(Arc<Self::Adapter>, f32)]) -> usize;

    /// Merges a blend into a copy of the base. Errors: why that cannot be done.
    fn merge(&self, blend: &[(Arc<Self::Adapter>, f32)]) -> Result<Self::Merged, String>;
}

/// How a load ended.
pub(crate) struct Arrival<A> {
    pub(crate) id: AdapterId,
    pub(crate) result: Result<LoadedAdapter<A>, String>,
    pub(crate) micros: u64,
}

/// The threads. They end when this is dropped and their last load is done.
#[derive(Debug)]
pub(crate) struct LoaderPool {
    jobs: mpsc::Sender<(AdapterId, AdapterSource)>,
}

impl LoaderPool {
    /// Starts `threads` threads; `arrived` is called from them.
    pub(crate) fn start<L: AdapterLoader>(
        loader: &Arc<L>,
        threads: usize,
        arrived: impl Fn(Arrival<L::Adapter>) + Clone + Send + 'static,
    ) -> Self {
        let (jobs, receiver) = mpsc::channel::<(AdapterId, AdapterSource)>();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..threads {
            let (loader, receiver) = (Arc::clone(loader), Arc::clone(&receiver));
            let arrived = arrived.clone();
            let work = move || {
                loop {
                    let job = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((id, source)) = job else { return };
                    let begun = Instant::now();
                    // A file that makes the reader panic is that file's fault alone.
                    let load = AssertUnwindSafe(|| loader.load(&source));
                    let result = catch_unwind(load)
                        .unwrap_or_else(|_| Err("reading it failed unexpectedly".to_owned()));
                    arrived(Arrival { id, result, micros: begun.elapsed().as_micros() as u64 });
                }
            };
            let thread = thread::Builder::new().name("openlora-load".to_owned());
            thread.spawn(work).expect("the system starts threads");
        }
        Self { jobs }
    }

    /// Begins a load.
    pub(crate) fn load(&self, id: AdapterId, source: AdapterSource) {
        self.jobs.send((id, source)).expect("the threads end after this");
    }
}
