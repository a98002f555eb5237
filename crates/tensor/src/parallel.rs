//! Threads: work is split over parts of the result only, so their number changes no bit.

use rayon::prelude::*;
use std::marker::PhantomData;

/// Threads that kernels called from here may use.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Runs `work` with kernels limited to so many threads (at least one).
///
/// One thread means the calling thread of the pool does everything itself. WebAssembly starts no
/// threads; there the caller's does the work, whatever number is asked for.
pub fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    if cfg!(target_family = "wasm") {
        return work();
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.max(1))
        .build()
        .expect("the system can start a thread")
        .install(work)
}

/// Runs `work(0)`, …, `work(parts − 1)`, on several threads where there are some.
pub(crate) fn for_each(parts: usize, work: impl Fn(usize) + Sync + Send) {
    if parts <= 1 || threads() == 1 {
        (0..parts).for_each(work);
    } else {
        (0..parts).into_par_iter().with_max_len(1).for_each(work);
    }
}

/// Runs `work` on every item, on several threads where there are some.
pub fn for_each_mut<T: Send>(items: &mut [T], work: impl Fn(&mut T) + Sync + Send) {
    if items.len() <= 1 || threads() == 1 {
        items.iter_mut().for_each(work);
    } else {
        items.par_iter_mut().with_max_len(1).for_each(work);
    }
}

/// Splits `rows` rows into one range per thread, in multiples of 16 and of at least `least` rows.
pub(crate) fn for_rows(
    rows: usize,
    least: usize,
    work: impl Fn(std::ops::Range<usize>) + Sync + Send,
) {
    let part = rows.div_ceil(threads()).max(least).next_multiple_of(16);
    for_each(rows.div_ceil(part), |i| work(i * part..(i * part + part).min(rows)));
}

/// A mutable slice whose disjoint parts are written by several tasks.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    data: *mut f32,
    len: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: f32 is Send, and every access is through the unsafe methods below, whose callers promise that
// tasks touch disjoint parts.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(crate) fn new(data: &'a mut [f32]) -> Self {
        Self { data: data.as_mut_ptr(), len: data.len(), life: PhantomData }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// # Safety
    /// `at` is inside the slice; what is reached from it is inside too and belongs to the caller alone.
    pub(crate) unsafe fn pointer(&self, at: usize) -> *mut f32 {
        debug_assert!(at < self.len);
        // SAFETY: inside the slice by the caller's promise.
        unsafe { self.data.add(at) }
    }

    /// # Safety
    /// No other task touches this part while the slice lives.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn slice(&self, at: usize, len: usize) -> &mut [f32] {
        assert!(at <= self.len && len <= self.len - at, "part outside the slice");
        // SAFETY: inside the slice, and the caller's alone by its promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(at), len) }
    }
}
