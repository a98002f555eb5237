//! A blend that has nearly all steps for itself is merged; every answer is all of one piece.

use super::{
    real_decoder::{exact_answer, tiny_adapter, tiny_engine},
    *,
};
use crate::{fake_model::merged_answer, merging::WINDOW_STEPS};

const TOKENS: usize = 200;

/// Asks until `enough`, eight answers at a time; each is given to `check`.
fn ask_until(
    engine: &Handle,
    adapter: Option<u64>,
    mut enough: impl FnMut(&Handle) -> bool,
    check: impl Fn(&[u32], Vec<u32>),
) {
    for round in 0..1000u32 {
        if enough(engine) {
            return;
        }
        let prompts: Vec<Vec<u32>> = (0..8).map(|i| vec![round % 11, i, 3]).collect();
        let open: Vec<_> = prompts
            .iter()
            .map(|prompt| engine.generate(ask(adapter, prompt, TOKENS)).expect("room"))
            .collect();
        for (prompt, mut events) in prompts.iter().zip(open) {
            check(prompt, receive(&mut events).expect("an answer").0);
        }
    }
    panic!("a thousand rounds were not enough");
}

#[test]
fn a_dominating_adapter_is_merged_and_let_go_and_every_answer_is_of_one_piece() {
    let root = tempfile::tempdir().expect("writable");
    folders(root.path(), 1..3);
    let loader = FakeLoader::default();
    let live = Arc::clone(&loader.merged);
    let engine = fake(loader, Config { merged_bytes: 1500, ..Config::default() });
    engine.register_all(root.path()).expect("readable");
    let blend = [(1, 1.0)];
    let of_one_piece = |prompt: &[u32], got: Vec<u32>| {
        let (apart, merged) =
            (answer(&blend, prompt, TOKENS), merged_answer(&blend, prompt, TOKENS));
        assert!(got == apart || got == merged, "neither apart nor merged");
    };
    ask_until(&engine, Some(1), |e| e.metrics().merged_copies == 1, of_one_piece);
    assert!(engine.metrics().step.count() >= WINDOW_STEPS as u64, "not before a window is full");
    let mut events = engine.generate(ask(Some(1), &[7], 50)).expect("room");
    assert_eq!(receive(&mut events).map(|all| all.0), Ok(merged_answer(&blend, &[7], 50)));
    assert_eq!(engine.metrics().gauges.merged_bytes, 1000);
    // Another adapter and the base alone are answered as ever, and the copy goes.
    let mut other = engine.generate(ask(Some(2), &[7], 50)).expect("room");
    assert_eq!(receive(&mut other).map(|all| all.0), Ok(answer(&[(2, 1.0)], &[7], 50)));
    let gone = |e: &Handle| e.metrics().gauges.merged_bytes == 0;
    ask_until(&engine, None, gone, |prompt, got| assert_eq!(got, answer(&[], prompt, TOKENS)));
    assert_eq!(live.load(Ordering::Relaxed), 0);
    let mut events = engine.generate(ask(Some(1), &[7], 50)).expect("room");
    assert_eq!(receive(&mut events).map(|all| all.0), Ok(answer(&blend, &[7], 50)));
    assert_eq!(engine.metrics().merged_copies, 1);
}

#[test]
fn an_idle_engine_keeps_no_copy_and_an_unloaded_adapter_none_either() {
    let root = tempfile::tempdir().expect("writable");
    folders(root.path(), 1..3);
    let loader = FakeLoader::default();
    let live = Arc::clone(&loader.merged);
    let idle_after = Duration::from_millis(200);
    let engine = fake(loader, Config { merged_bytes: 1500, idle_after, ..Config::default() });
    engine.register_all(root.path()).expect("readable");
    ask_until(&engine, Some(1), |e| e.metrics().gauges.merged_bytes == 1000, |_, _| {});
    wait_until("the memory", || engine.metrics().gauges.merged_bytes == 0);
    assert_eq!(live.load(Ordering::Relaxed), 0);
    ask_until(&engine, Some(2), |e| e.metrics().gauges.merged_bytes == 1000, |_, _| {});
    engine.unregister(&AdapterRef::Name("2".into())).expect("registered");
    wait_until("the copy to go", || engine.metrics().gauges.merged_bytes == 0);
}

#[test]
fn answers_of_a_copy_end_with_it_when_its_adapter_is_replaced() {
    let root = tempfile::tempdir().expect("writable");
    folders(root.path(), 1..3);
    let loader = FakeLoader::default();
    let live = Arc::clone(&loader.merged);
    let engine = fake(loader, Config { merged_bytes: 1500, ..Config::default() });
    engine.register_all(root.path()).expect("readable");
    ask_until(&engine, Some(1), |e| e.metrics().gauges.merged_bytes == 1000, |_, _| {});
    let mut before = engine.generate(ask(Some(1), &[7], TOKENS)).expect("room");
    assert_eq!(engine.replace_folder("1", &root.path().join("2")), Ok(()));
    let mut after = engine.generate(ask(Some(1), &[7], TOKENS)).expect("room");
    let [before, after] = [&mut before, &mut after].map(|all| receive(all).map(|all| all.0));
    assert_eq!(before, Ok(merged_answer(&[(1, 1.0)], &[7], TOKENS)));
    assert_eq!(after, Ok(answer(&[(2, 1.0)], &[7], TOKENS)));
    wait_until("the copy to go", || live.load(Ordering::Relaxed) == 0);
    assert_eq!(engine.metrics().gauges.merged_bytes, 0);
}

#[test]
fn without_a_budget_nothing_is_merged() {
    let root = tempfile::tempdir().expect("writable");
    folders(root.path(), 1..2);
    for merged_bytes in [0, 999] {
        let loader = FakeLoader::default();
        let engine = fake(loader, Config { merged_bytes, ..Config::default() });
        engine.register_all(root.path()).expect("readable");
        let enough = |e: &Handle| e.metrics().step.count() > 3 * WINDOW_STEPS as u64;
        ask_until(&engine, Some(1), enough, |prompt, got| {
            assert_eq!(got, answer(&[(1, 1.0)], prompt, TOKENS));
        });
        assert_eq!(engine.metrics().merged_copies, 0);
    }
}

#[test]
fn a_real_decoder_answers_merged_as_it_does_apart() {
    let config = Config { memory_bytes: 2 << 20, merged_bytes: 1 << 20, ..Config::default() };
    let engine = tiny_engine(config);
    let base = Arc::clone(engine.base());
    let (hash, adapter) = (engine.register(tiny_adapter(&base, 1)), tiny_adapter(&base, 1));
    let request = |prompt: &[u32]| GenerateRequest {
        adapters: vec![(hash.into(), 1.0)],
        ..ask(None, prompt, 60)
    };
    // In f32 the two round differently, but far less than these answers' tokens are apart.
    for round in 0..1000u32 {
        if engine.metrics().gauges.merged_bytes > 0 {
            break;
        }
        let open: Vec<_> =
            (0..8u32).map(|i| engine.generate(request(&[round % 64, i])).expect("room")).collect();
        open.into_iter().for_each(|mut events| drop(receive(&mut events).expect("an answer")));
    }
    assert!(engine.metrics().gauges.merged_bytes > 0, "nothing was merged");
    for first in 0..10u32 {
        let prompt = [first, 5, first + 1];
        let mut events = engine.generate(request(&prompt)).expect("room");
        let expected = exact_answer(&base, Some(&adapter), &prompt, 60);
        assert_eq!(receive(&mut events).map(|all| all.0), Ok(expected));
    }
}
