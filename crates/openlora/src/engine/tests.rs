//! Whole engines: threads, loads, clients that come and go.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicI64, AtomicUsize, Ordering},
    time::Duration,
};

use openledger_model::{
    Adapter, DecoderConfig, KvCache, LoraLayout, Site, Slice, Weights,
    serving::{KvForm, ServingAdapter, WeightForm},
};
use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::{
    AdapterHash, AdapterRef, AdapterSource, Event, FinishReason, GenerateRequest, LoadedAdapter,
    Sampler, Sampling,
    fake_model::{FakeAdapter, FakeMerged, FakeModel, REFUSED, answer},
    grammar::{Grammar, Grammars},
};

mod churn;
mod disconnects;
mod merging;
mod real_decoder;

/// Adapters whose number ends so are broken.
const BROKEN: u64 = 7;

/// Reads the number in a folder's name.
#[derive(Default)]
struct FakeLoader {
    loads: Arc<AtomicUsize>,
    live: Arc<AtomicI64>,
    merged: Arc<AtomicI64>,
    /// Loads wait for this, where it is set.
    gate: Option<Arc<Mutex<()>>>,
}

impl AdapterLoader for FakeLoader {
    type Adapter = FakeAdapter;
    type Merged = FakeMerged;

    fn bytes_expected(&self, _file_bytes: u64) -> usize {
        1024
    }

    fn load(&self, source: &AdapterSource) -> Result<LoadedAdapter<FakeAdapter>, String> {
        let _open = self.gate.as_ref().map(|gate| gate.lock().expect("nobody panics with it"));
        self.loads.fetch_add(1, Ordering::Relaxed);
        let AdapterSource::Folder(path) = source else { return Err("no folder".to_owned()) };
        let name = path.file_name().and_then(|name| name.to_str()).expect("it has a name");
        let number: u64 = name.parse().expect("it is a number");
        if number % 100 == BROKEN {
            return Err("the header is cut off".to_owned());
        }
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_le_bytes());
        let adapter = Arc::new(FakeAdapter::counted(number, &self.live));
        // Sizes differ from what was expected, up and down.
        let bytes = 1024 * (1 + number as usize % 3);
        Ok(LoadedAdapter { adapter, hash: AdapterHash(hash), bytes })
    }

    fn merged_bytes(&self, _blend: &[(Arc<FakeAdapter>, f32)]) -> usize {
        1000
    }

    fn merge(&self, blend: &[(Arc<FakeAdapter>, f32)]) -> Result<FakeMerged, String> {
        Ok(FakeMerged::new(blend, &self.merged))
    }
}

fn folders(root: &Path, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let folder = root.join(number.to_string());
        fs::create_dir(&folder).expect("writable");
        fs::write(folder.join("adapter_model.safetensors"), []).expect("writable");
    }
}

fn tiny() -> (DecoderConfig, Weights) {
    let config = DecoderConfig::llama(32, 2, (4, 2), 48, 64, 96);
    let weights = Weights::random(&config, 1);
    (config, weights)
}

fn exact() -> Arc<Decoder> {
    let (config, weights) = tiny();
    Arc::new(Decoder::new(config, weights, false))
}

fn fake(loader: FakeLoader, config: Config) -> Handle {
    Engine::start_with(exact(), FakeModel::default(), loader, config).expect("it fits")
}

fn ask(adapter: Option<u64>, prompt: &[u32], tokens_max: usize) -> GenerateRequest {
    let adapter = adapter.map(|number| (AdapterRef::Name(number.to_string().into()), 1.0));
    GenerateRequest {
        tenant: "t".into(),
        prompt: prompt.to_vec(),
        adapters: adapter.into_iter().collect(),
        sampling: Sampling::GREEDY,
        tokens_max,
        stop_tokens: vec![],
        logprobs: None,
        grammar: None,
        prefix_shared: false,
        cache_salt: None,
    }
}

fn receive(events: &mut UnboundedReceiver<Event>) -> Result<(Vec<u32>, FinishReason), Error> {
    let mut tokens = Vec::new();
    loop {
        match events.blocking_recv().expect("every answer has an end") {
            Event::Token(token) => tokens.push(token.id),
            Event::Finished(reason) => return Ok((tokens, reason)),
            Event::Failed(error) => return Err(error),
        }
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{what} did not come");
}

#[test]
fn a_hundred_mixed_requests_get_the_answers_they_get_alone() {
    let root = tempfile::tempdir().expect("writable");
    folders(root.path(), 0..7);
    let engine = fake(FakeLoader::default(), Config::default());
    assert_eq!(engine.register_all(root.path()).expect("readable"), 7);
    let mut open = Vec::new();
    for i in 0..100u64 {
        let adapter = (i % 8).checked_sub(1);
        let prompt: Vec<u32> = (0..1 + i % 40).map(|p| (p * i % 5) as u32).collect();
        let tokens = 1 + (i % 13) as usize;
        let blend: Vec<(u64, f32)> = adapter.iter().map(|number| (*number, 1.0)).collect();
        let expected = answer(&blend, &prompt, tokens);
        open.push((
            engine.generate(ask(adapter, &prompt, tokens)).expect("there is room"),
            expected,
        ));
    }
    for (mut events, expected) in open {
        assert_eq!(receive(&mut events), Ok((expected, FinishReason::Length)));
    }
    let metrics = engine.metrics();
    assert_eq!((metrics.finished, metrics.failed, metrics.gauges.adapters_registered), (100, 0, 7));
    assert_eq!(metrics.tenant("t").map(|all| all.answers), Some(100));
    assert!(metrics.to_prometheus().contains("openlora_adapter_answers_total{adapter=\"3\"}"));
}

#[test]
fn requests_for_one_adapter_load_it_once_and_others_do_not_wait_for_it() {
    let root = tempfile::tempdir().expect("writable");
    folders(root.path(), 0..1);
    let gate = Arc::new(Mutex::new(()));
    let loader = FakeLoader { gate: Some(Arc::clone(&gate)), ..FakeLoader::default() };
    let loads = Arc::clone(&loader.loads);
    let engine = fake(loader, Config::default());
    engine.register_all(root.path()).expect("readable");
    let closed = gate.lock().expect("nobody panics with it");
    let mut cold: Vec<_> =
        (0..10).map(|_| engine.generate(ask(Some(0), &[1, 2], 3)).expect("room")).collect();
    for _ in 0..5 {
        let mut warm = engine.generate(ask(None, &[3], 4)).expect("room");
        assert_eq!(receive(&mut warm).map(|all| all.0), Ok(answer(&[], &[3], 4)));
    }
    assert!(cold[0].try_recv().is_err());
    drop(closed);
    for events in &mut cold {
        assert_eq!(receive(events).map(|all| all.0), Ok(answer(&[(0, 1.0)], &[1, 2], 3)));
    }
    assert_eq!(loads.load(Ordering::Relaxed), 1);
}

#[test]
fn a_broken_adapter_fails_its_own_requests_and_is_remembered() {
    let root = tempfile::tempdir().expect("writable");
    folders(root.path(), 6..8);
    let loader = FakeLoader::default();
    let loads = Arc::clone(&loader.loads);
    let engine = fake(loader, Config::default());
    engine.register_all(root.path()).expect("readable");
    let mut good = engine.generate(ask(Some(6), &[1], 20)).expect("room");
    let mut broken = engine.generate(ask(Some(BROKEN), &[1], 20)).expect("room");
    let failed = receive(&mut broken).expect_err("it is broken");
    assert!(failed.to_string().contains("the header is cut off"), "{failed}");
    let again = engine.generate(ask(Some(BROKEN), &[1], 20)).expect_err("it is remembered");
    assert!(matches!(again, Error::BrokenAdapter { .. }));
    assert_eq!(receive(&mut good).map(|all| all.0), Ok(answer(&[(6, 1.0)], &[1], 20)));
    assert_eq!(loads.load(Ordering::Relaxed), 2);
    let info = engine.adapter(&AdapterRef::Name("7".into())).expect("registered");
    assert_eq!(info.broken.as_deref(), Some("the header is cut off"));
}

#[test]
fn a_sequence_that_the_model_refuses_harms_no_other_in_its_batch() {
    let root = tempfile::tempdir().expect("writable");
    folders(root.path(), 65..67);
    let engine = fake(FakeLoader::default(), Config::default());
    engine.register_all(root.path()).expect("readable");
    let mut open: Vec<_> = (0..9u64)
        .map(|i| engine.generate(ask(Some(65 + i % 2), &[i as u32], 30)).expect("room"))
        .collect();
    for (i, events) in (0..).zip(&mut open) {
        let answered = receive(events).map(|all| all.0);
        match 65 + i % 2 {
            REFUSED => assert!(matches!(answered, Err(Error::Model(_)))),
            number => assert_eq!(answered, Ok(answer(&[(number, 1.0)], &[i as u32], 30))),
        }
    }
}

#[test]
fn a_full_queue_refuses_at_once_and_says_when_to_come_back() {
    let root = tempfile::tempdir().expect("writable");
    folders(root.path(), 0..1);
    let gate = Arc::new(Mutex::new(()));
    let loader = FakeLoader { gate: Some(Arc::clone(&gate)), ..FakeLoader::default() };
    let engine = fake(loader, Config { queue_max: 4, ..Config::default() });
    engine.register_all(root.path()).expect("readable");
    let closed = gate.lock().expect("nobody panics with it");
    let waiting: Vec<_> =
        (0..4).map(|_| engine.generate(ask(Some(0), &[1], 2)).expect("room")).collect();
    let refused = engine.generate(ask(None, &[1], 2)).expect_err("the queue is full");
    assert!(matches!(refused, Error::Overloaded { retry_after_ms } if retry_after_ms >= 100));
    assert_eq!(engine.metrics().refused, 1);
    // An early look says the same and counts the same.
    let adapter = (AdapterRef::Name("0".into()), 1.0);
    let early = engine.expect_places(1, &"early".into(), &[adapter]).expect_err("it is full");
    assert!(matches!(early, Error::Overloaded { .. }));
    let metrics = engine.metrics();
    assert_eq!((metrics.refused, metrics.tenant("early").map(|all| all.refused)), (2, Some(1)));
    assert_eq!(metrics.adapter("0").map(|all| all.refused), Some(1));
    drop(closed);
    waiting.into_iter().for_each(|mut events| drop(receive(&mut events).expect("it is served")));
    assert_eq!(engine.expect_places(4, &"early".into(), &[]), Ok(()));
    assert!(matches!(engine.expect_places(5, &"early".into(), &[]), Err(Error::Overloaded { .. })));
    // Looking takes no place.
    assert!(engine.generate_all(ask(None, &[1], 2), 4).is_ok());
}

#[test]
fn answers_to_one_prompt_differ_by_their_seeds_only() {
    let engine = fake(FakeLoader::default(), Config::default());
    let warm = |seed| GenerateRequest {
        sampling: Sampling { temperature: 1.0, seed, ..Sampling::GREEDY },
        ..ask(None, &[5; 40], 12)
    };
    let together: Vec<_> = engine
        .generate_all(warm(7), 3)
        .expect("room")
        .iter_mut()
        .map(|events| receive(events).expect("served"))
        .collect();
    for (seed, all) in (7..).zip(&together) {
        let mut alone = engine.generate(warm(seed)).expect("room");
        assert_eq!(receive(&mut alone).as_ref(), Ok(all));
    }
    assert_ne!(together[0], together[1]);
    assert!(engine.metrics().prompt_tokens_cached >= 2 * 32);
}

#[test]
fn the_same_prompt_of_two_tenants_shares_no_page_unless_it_may() {
    let engine = fake(FakeLoader::default(), Config::default());
    // Tokens that did not have to be read again.
    let cached = |tenant: &str, shared: bool, salt: Option<&str>| {
        let before = engine.metrics().prompt_tokens_cached;
        let request = GenerateRequest {
            tenant: tenant.into(),
            prefix_shared: shared,
            cache_salt: salt.map(Into::into),
            ..ask(None, &[4; 49], 1)
        };
        let mut events = engine.generate(request).expect("room");
        assert_eq!(receive(&mut events).map(|all| all.0), Ok(answer(&[], &[4; 49], 1)));
        engine.metrics().prompt_tokens_cached - before
    };
    assert_eq!(cached("a", false, None), 0);
    assert_eq!(cached("b", false, None), 0, "another tenant's prompt shows in the time it takes");
    assert_eq!((cached("a", false, None), cached("b", false, None)), (48, 48));
    assert_eq!((cached("a", false, Some("s")), cached("a", false, Some("s"))), (0, 48));
    assert_eq!((cached("b", false, Some("s")), cached("a", false, Some("r"))), (0, 0));
    assert_eq!((cached("a", true, None), cached("c", true, None)), (0, 48));
    assert_eq!((cached("a", true, Some("s")), cached("c", true, Some("s"))), (0, 48));
    assert_eq!(cached("c", false, None), 0);
}

#[test]
fn a_stop_token_ends_an_answer_and_logprobs_come_with_each_token() {
    let engine = fake(FakeLoader::default(), Config::default());
    let expected = answer(&[], &[1, 2], 20);
    let stop = expected[5];
    let at = expected.iter().position(|token| *token == stop).expect("it is there");
    let request = GenerateRequest {
        stop_tokens: vec![99, stop],
        logprobs: Some(2),
        ..ask(None, &[1, 2], 20)
    };
    let mut events = engine.generate(request).expect("room");
    let mut tokens = Vec::new();
    while let Some(Event::Token(token)) = events.blocking_recv() {
        let logprobs = token.logprobs.expect("they were asked for");
        assert_eq!((logprobs.top.len(), logprobs.top[0].0), (2, token.id));
        tokens.push(token.id);
    }
    assert_eq!(tokens, expected[..=at]);
}

#[test]
fn requests_that_cannot_be_run_are_refused_with_the_reason() {
    let engine = fake(FakeLoader::default(), Config::default());
    let refused = |request| engine.generate(request).expect_err("it cannot be run").to_string();
    assert!(refused(ask(None, &[11], 1)).contains("vocabulary"));
    assert!(refused(ask(None, &[], 1)).contains("tokens"));
    assert!(refused(ask(None, &[1], 256)).contains("257 tokens"));
    assert!(refused(ask(Some(3), &[1], 1)).contains("adapter 3 is not registered"));
    let hot = Sampling { temperature: 3.0, ..Sampling::GREEDY };
    assert!(
        refused(GenerateRequest { sampling: hot, ..ask(None, &[1], 1) }).contains("temperature")
    );
    let none = engine.generate_all(ask(None, &[1], 1), 0);
    assert!(none.is_err_and(|error| error.to_string().starts_with("n:")));
}

#[test]
fn a_pinned_adapter_survives_what_evicts_all_others() {
    let root = tempfile::tempdir().expect("writable");
    folders(root.path(), 10..90);
    let engine = fake(FakeLoader::default(), Config::default());
    engine.register_all(root.path()).expect("readable");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it starts");
    let name = |number: u64| AdapterRef::Name(number.to_string().into());
    assert_eq!(runtime.block_on(engine.pin(&name(10), true)), Ok(()));
    for number in (11..90).filter(|number| *number != REFUSED) {
        let mut events = engine.generate(ask(Some(number), &[1, 2], 2)).expect("room");
        receive(&mut events).expect("served");
    }
    let resident = |number| engine.adapter(&name(number)).expect("registered").resident_bytes;
    assert_eq!((resident(10), resident(11)), (Some(2048), None));
    // More than what the longest sequence leaves is not pinned.
    let refused =
        (11..90).find_map(|number| runtime.block_on(engine.pin(&name(number), true)).err());
    assert!(matches!(refused, Some(Error::Memory { .. })), "{refused:?}");
    assert_eq!(runtime.block_on(engine.pin(&name(10), false)), Ok(()));
}

#[test]
fn an_adapter_that_was_unregistered_is_gone_and_its_running_answers_are_finished() {
    let root = tempfile::tempdir().expect("writable");
    folders(root.path(), 0..1);
    let engine = fake(FakeLoader::default(), Config::default());
    engine.register_all(root.path()).expect("readable");
    let name = AdapterRef::Name("0".into());
    let mut running = engine.generate(ask(Some(0), &[1], 200)).expect("room");
    assert!(running.blocking_recv().is_some());
    assert_eq!(engine.unregister(&name), Ok(()));
    assert!(engine.generate(ask(Some(0), &[1], 2)).is_err());
    assert_eq!(receive(&mut running).map(|all| all.0.len()), Ok(199));
}

#[test]
fn who_waits_for_an_adapter_to_be_read_is_served_when_it_is_unregistered_meanwhile() {
    let root = tempfile::tempdir().expect("writable");
    folders(root.path(), 0..2);
    let gate = Arc::new(Mutex::new(()));
    let (loader, live) = (FakeLoader::default(), Arc::new(AtomicI64::new(0)));
    let loader = FakeLoader { gate: Some(Arc::clone(&gate)), live: Arc::clone(&live), ..loader };
    let engine = fake(loader, Config { loader_threads: 1, ..Config::default() });
    engine.register_all(root.path()).expect("readable");
    let closed = gate.lock().expect("nobody panics with it");
    let mut waiting = [0, 1].map(|n| engine.generate(ask(Some(n), &[1, 2], 9)).expect("room"));
    for number in ["0", "1"] {
        assert_eq!(engine.unregister(&AdapterRef::Name(number.into())), Ok(()));
    }
    let after = engine.generate(ask(Some(0), &[1, 2], 9));
    assert!(matches!(after, Err(Error::UnknownAdapter(_))));
    assert_eq!(engine.capacity().adapters_registered, 0);
    drop(closed);
    for (number, events) in (0..).zip(&mut waiting) {
        assert_eq!(receive(events).map(|all| all.0), Ok(answer(&[(number, 1.0)], &[1, 2], 9)));
    }
    wait_until("both to be gone", || live.load(Ordering::Relaxed) == 0);
    // Their names are free.
    assert_eq!(engine.register_folder("0", &root.path().join("0")), Ok(()));
}

#[test]
fn an_adapter_that_was_replaced_serves_who_asked_before_and_the_new_one_who_asks_after() {
    let root = tempfile::tempdir().expect("writable");
    folders(root.path(), 0..3);
    let live = Arc::new(AtomicI64::new(0));
    let loader = FakeLoader { live: Arc::clone(&live), ..FakeLoader::default() };
    // One at a time: who asks second waits.
    let engine = fake(loader, Config { batch_max: 1, ..Config::default() });
    let poet = AdapterRef::Name("poet".into());
    let place = |number: u64| root.path().join(number.to_string());
    let ask_poet = |tokens_max| {
        let request = GenerateRequest {
            adapters: vec![(poet.clone(), 1.0)],
            ..ask(None, &[1, 2], tokens_max)
        };
        engine.generate(request).expect("room")
    };
    engine.register_folder("poet", &place(1)).expect("free");
    assert_eq!(engine.register_folder("poet", &place(2)), Err(Error::NameTaken("poet".into())));
    let mut running = ask_poet(200);
    assert!(running.blocking_recv().is_some());
    let mut waiting = ask_poet(20);
    assert_eq!(engine.replace_folder("poet", &place(2)), Ok(()));
    let mut after = ask_poet(20);
    let mut all = [&mut running, &mut waiting, &mut after].map(receive);
    let tokens: Vec<Vec<u32>> =
        all.iter_mut().map(|all| all.as_mut().expect("served").0.clone()).collect();
    assert_eq!(tokens[0][..], answer(&[(1, 1.0)], &[1, 2], 200)[1..]);
    assert_eq!(tokens[1], answer(&[(1, 1.0)], &[1, 2], 20));
    assert_eq!(tokens[2], answer(&[(2, 1.0)], &[1, 2], 20));
    // Nobody wants the old one any more: it is gone, in the catalog and in memory.
    wait_until("the old adapter", || live.load(Ordering::Relaxed) == 1);
    assert_eq!(engine.capacity().adapters_registered, 1);
    let path = engine.adapter(&poet).expect("registered").path;
    assert_eq!(path, Some(place(2)));
}

#[test]
fn a_name_that_is_replaced_again_and_again_under_load_fails_no_answer() {
    let root = tempfile::tempdir().expect("writable");
    folders(root.path(), 0..4);
    let live = Arc::new(AtomicI64::new(0));
    let loader = FakeLoader { live: Arc::clone(&live), ..FakeLoader::default() };
    let engine = fake(loader, Config { batch_max: 2, ..Config::default() });
    let poet = AdapterRef::Name("poet".into());
    let place = |number: u64| root.path().join(number.to_string());
    engine.register_folder("poet", &place(0)).expect("free");
    let possible: Vec<Vec<u32>> = (0..4).map(|n| answer(&[(n, 1.0)], &[3], 5)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let request = GenerateRequest {
                        adapters: vec![(poet.clone(), 1.0)],
                        ..ask(None, &[3], 5)
                    };
                    let mut events = engine.generate(request).expect("room");
                    let (tokens, _) = receive(&mut events).expect("served");
                    // Of one adapter from beginning to end.
                    assert!(possible.contains(&tokens), "{tokens:?}");
                }
            });
        }
        scope.spawn(|| {
            for round in 0..300u64 {
                assert_eq!(engine.replace_folder("poet", &place(round % 4)), Ok(()));
                std::thread::yield_now();
            }
        });
    });
    let mut events = engine
        .generate(GenerateRequest { adapters: vec![(poet, 1.0)], ..ask(None, &[3], 5) })
        .expect("room");
    assert_eq!(receive(&mut events).map(|all| all.0), Ok(possible[3].clone()));
    wait_until("the old adapters", || live.load(Ordering::Relaxed) == 1);
    assert_eq!(engine.metrics().failed, 0);
}

/// One character for each token of the fake model, the last one ends an answer.
fn json_grammar() -> Grammar {
    let mut words: Vec<Vec<u8>> = b"{}\":,1[]a ".iter().map(|byte| vec![*byte]).collect();
    words.push(b"\xFFend".to_vec());
    Grammars::of_words(&words, JSON_END).expect("a vocabulary").object()
}

const JSON_END: u32 = 10;

#[test]
fn answers_in_json_are_what_they_are_alone_however_often_they_are_interrupted() {
    let engine = fake(FakeLoader::default(), Config { batch_max: 48, ..Config::default() });
    let grammar = json_grammar();
    let ask_json = |i: u64| GenerateRequest {
        sampling: Sampling {
            temperature: 1.0,
            seed: 100 * i,
            // It would rather not close what it has opened.
            logit_bias: vec![(1, -7.0), (7, -7.0)],
            ..Sampling::GREEDY
        },
        grammar: (i % 4 != 3).then(|| grammar.clone()),
        stop_tokens: vec![JSON_END],
        ..ask(None, &[(i % 10) as u32; 40], 180)
    };
    let mut open = Vec::new();
    for i in 0..24u64 {
        for (n, events) in (0..).zip(engine.generate_all(ask_json(i), 3).expect("room")) {
            open.push((i, n, events));
        }
    }
    let (mut ended, mut cut) = (0, 0);
    let mut together = Vec::new();
    for (i, n, mut events) in open {
        let (tokens, reason) = receive(&mut events).expect("served");
        if i % 4 != 3 {
            let text: String = tokens
                .iter()
                .filter_map(|t| b"{}\":,1[]a ".get(*t as usize))
                .map(|b| *b as char)
                .collect();
            match (reason, serde_json::from_str::<serde::de::IgnoredAny>(&text)) {
                (FinishReason::Stop, read) => {
                    assert!(read.is_ok() && text.starts_with('{'), "{text}");
                    ended += 1;
                }
                (FinishReason::Length, _) => cut += 1,
            }
        }
        together.push((i, n, tokens));
    }
    assert!(ended > 0 && cut > 0, "{ended} ended, {cut} were cut");
    let preemptions = engine.metrics().preemptions;
    assert!(preemptions > 0, "memory must run short: {ended} ended, {cut} were cut");
    for (i, n, tokens) in together.into_iter().step_by(5) {
        let mut request = ask_json(i);
        request.sampling.seed += n;
        let mut alone = engine.generate(request).expect("room");
        assert_eq!(receive(&mut alone).map(|all| all.0), Ok(tokens));
    }
}
