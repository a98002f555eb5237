use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicI64, Ordering},
};

use proptest::prelude::*;

use super::*;
use crate::{
    AdapterSource, LoadedAdapter,
    adapter_id::AdapterId,
    fake_model::{FakeAdapter, FakeMerged},
};

/// Merges when `gate` is open; what is named `REFUSED` never.
#[derive(Default)]
struct Loader {
    live: Arc<AtomicI64>,
    gate: Arc<Mutex<()>>,
}

const REFUSED: u64 = 9;
const BYTES: usize = 100;

impl AdapterLoader for Loader {
    type Adapter = FakeAdapter;
    type Merged = FakeMerged;

    fn bytes_expected(&self, _file_bytes: u64) -> usize {
        1
    }

    fn load(&self, _source: &AdapterSource) -> Result<LoadedAdapter<FakeAdapter>, String> {
        Err("nothing is loaded here".to_owned())
    }

    fn merged_bytes(&self, _blend: &[(Arc<FakeAdapter>, f32)]) -> usize {
        BYTES
    }

    fn merge(&self, blend: &[(Arc<FakeAdapter>, f32)]) -> Result<FakeMerged, String> {
        drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
        if blend.iter().any(|(adapter, _)| adapter.0 == REFUSED) {
            return Err("its shape".to_owned());
        }
        Ok(FakeMerged::new(blend, &self.live))
    }
}

fn blend(adapter: u64) -> Blend {
    (adapter > 0).then(|| (AdapterId(adapter as u32), 1.0f32.to_bits())).into_iter().collect()
}

fn adapters(blend: &Blend) -> Option<Adapters<Loader>> {
    Some(blend.iter().map(|(id, _)| (Arc::new(FakeAdapter::new(u64::from(id.0))), 1.0)).collect())
}

/// One window with so many steps for a blend alone, the others for several.
fn window(merging: &mut Merging<Loader>, adapter: u64, alone: usize) {
    let of = blend(adapter);
    (0..WINDOW_STEPS).for_each(|step| merging.count((step < alone).then_some(&of), adapters));
}

/// Waits for the thread that merges.
fn settle(merging: &mut Merging<Loader>) {
    while merging.under_way.is_some() {
        merging.take_done();
        thread::yield_now();
    }
}

#[test]
fn a_blend_is_merged_when_nearly_all_steps_are_its_own_and_kept_while_most_are() {
    let mut merging = Merging::new(BYTES, Arc::new(Loader::default()));
    window(&mut merging, 1, MERGE_FROM - 1);
    assert!(merging.under_way.is_none());
    window(&mut merging, 1, MERGE_FROM);
    settle(&mut merging);
    assert!(merging.copy_of(&blend(1)).is_some() && merging.copy_of(&blend(2)).is_none());
    window(&mut merging, 1, KEEP_FROM);
    assert!(merging.copy_of(&blend(1)).is_some());
    window(&mut merging, 1, KEEP_FROM - 1);
    assert!(merging.copy_of(&blend(1)).is_none());
    assert_eq!((merging.bytes(), merging.made()), (0, 1));
}

#[test]
fn the_base_alone_and_what_was_refused_once_are_not_merged() {
    let mut merging = Merging::new(BYTES, Arc::new(Loader::default()));
    window(&mut merging, 0, WINDOW_STEPS);
    assert!(merging.under_way.is_none());
    window(&mut merging, REFUSED, WINDOW_STEPS);
    settle(&mut merging);
    assert!(merging.copy_of(&blend(REFUSED)).is_none());
    window(&mut merging, REFUSED, WINDOW_STEPS);
    assert!(merging.under_way.is_none(), "it would be refused again");
}

#[test]
fn what_is_let_go_while_it_is_merged_never_comes() {
    let loader = Arc::new(Loader::default());
    let mut merging = Merging::new(BYTES, Arc::clone(&loader));
    let closed = loader.gate.lock().expect("nobody panics with it");
    window(&mut merging, 1, WINDOW_STEPS);
    merging.let_go(|of| *of == blend(2));
    assert!(merging.under_way.as_ref().is_some_and(|it| it.wanted));
    merging.let_go(|of| *of == blend(1));
    drop(closed);
    settle(&mut merging);
    assert!(merging.copy_of(&blend(1)).is_none());
    assert_eq!(loader.live.load(Ordering::Relaxed), 0);
}

proptest! {
    #[test]
    fn copies_never_take_more_than_the_budget(
        steps in prop::collection::vec((1u64..5, 0usize..4, any::<bool>()), 1..40), fit in 1usize..4
    ) {
        let loader = Arc::new(Loader::default());
        let mut merging = Merging::new(fit * BYTES, Arc::clone(&loader));
        let mut answers = std::collections::VecDeque::new();
        for (adapter, end, wait) in steps {
            window(&mut merging, adapter, WINDOW_STEPS);
            if wait {
                settle(&mut merging);
            }
            // An answer of the newest copy begins, old ones end.
            answers.extend(merging.copy_of(&blend(adapter)));
            answers.drain(..end.min(answers.len()));
            prop_assert!(loader.live.load(Ordering::Relaxed) <= fit as i64);
            prop_assert!(merging.bytes() <= fit * BYTES);
        }
        drop(answers);
        settle(&mut merging);
        merging.let_go(|_| true);
        prop_assert_eq!((merging.bytes(), loader.live.load(Ordering::Relaxed)), (0, 0));
    }
}
