//! Engines over a small decoder of the real kind.

use super::*;

pub(super) fn tiny_engine(config: Config) -> Handle {
    let (shape, weights) = tiny();
    let serving = ServingDecoder::new(shape, weights, WeightForm::F32, KvForm::F32);
    Engine::start(exact(), serving, config).expect("it fits")
}

pub(super) fn tiny_adapter(base: &Decoder, seed: u64) -> Adapter {
    let layout = LoraLayout::new(base.config(), 4, 8.0, &Site::ALL);
    let mut values = layout.random(seed);
    let mut random = openledger_tensor::Random::new(seed, 1);
    values.iter_mut().for_each(|x| *x += 0.2 * (random.uniform() - 0.5));
    Adapter::new(layout, &values).expect("finite")
}

/// The greedy answer of the exact decoder, one request at a time.
pub(super) fn exact_answer(
    base: &Decoder,
    adapter: Option<&Adapter>,
    prompt: &[u32],
    n: usize,
) -> Vec<u32> {
    let mut cache = KvCache::new(base.config(), prompt.len() + n);
    let (mut tokens, mut answer) = (prompt.to_vec(), Vec::new());
    for _ in 0..n {
        let mut slices = [Slice { tokens: &tokens, cache: &mut cache, adapter }];
        let logits = base.step(&mut slices).expect("it fits").remove(0);
        let next = Sampler::new(Sampling::GREEDY, &[]).next(&logits, None);
        answer.push(next);
        tokens = vec![next];
    }
    answer
}

#[test]
fn the_serving_decoder_in_f32_answers_as_the_exact_decoder_does_alone() {
    // Little memory and small steps: prompts are cut, answers are interrupted and read again.
    let config =
        Config { memory_bytes: 400 << 10, batch_max: 6, step_tokens_max: 16, ..Config::default() };
    let engine = tiny_engine(config);
    let base = Arc::clone(engine.base());
    let hashes: Vec<_> = (1..4).map(|seed| engine.register(tiny_adapter(&base, seed))).collect();
    let adapters: Vec<_> = (1..4).map(|seed| tiny_adapter(&base, seed)).collect();
    let mut open = Vec::new();
    for i in 0..40usize {
        let prompt: Vec<u32> = (0..1 + i % 50).map(|p| (p * (i % 4 + 3) % 64) as u32).collect();
        let which = (i % 4).checked_sub(1);
        let request = GenerateRequest {
            adapters: which.map(|which| (hashes[which].into(), 1.0)).into_iter().collect(),
            ..ask(None, &prompt, 1 + i % 30)
        };
        let expected =
            exact_answer(&base, which.map(|which| &adapters[which]), &prompt, 1 + i % 30);
        open.push((engine.generate(request).expect("room"), expected));
    }
    for (mut events, expected) in open {
        assert_eq!(receive(&mut events).map(|all| all.0), Ok(expected));
    }
}

#[test]
fn an_adapter_answers_alike_from_memory_from_its_folder_and_from_a_packed_file() {
    let root = tempfile::tempdir().expect("writable");
    let engine = tiny_engine(Config { memory_bytes: 2 << 20, ..Config::default() });
    let base = Arc::clone(engine.base());
    let adapter = tiny_adapter(&base, 1);
    let expected = exact_answer(&base, Some(&adapter), &[1, 2, 3], 20);
    adapter.save(&root.path().join("folder"), "tiny").expect("writable");
    let packed = ServingAdapter::new(&adapter);
    packed.save(&root.path().join("packed.adapter"), base.hash()).expect("writable");
    let whole = fs::read(root.path().join("packed.adapter")).expect("readable");
    fs::write(root.path().join("cut.adapter"), &whole[..whole.len() / 2]).expect("writable");
    assert_eq!(engine.register_all(root.path()).expect("readable"), 3);
    let hash = engine.register(adapter);
    let name = |name: &str| AdapterRef::Name(name.into());
    for adapter in [name("folder"), name("packed"), hash.into()] {
        let request =
            GenerateRequest { adapters: vec![(adapter, 1.0)], ..ask(None, &[1, 2, 3], 20) };
        let mut events = engine.generate(request).expect("room");
        assert_eq!(receive(&mut events).map(|all| all.0), Ok(expected.clone()));
    }
    let request = GenerateRequest { adapters: vec![(name("cut"), 1.0)], ..ask(None, &[1], 2) };
    let mut events = engine.generate(request).expect("room");
    assert!(matches!(receive(&mut events), Err(Error::BrokenAdapter { .. })));
    assert_eq!(engine.adapter(&name("folder")).expect("registered").hash, Some(hash));
}

#[test]
fn an_idle_engine_gives_its_memory_back_and_answers_as_before() {
    let config =
        Config { memory_bytes: 2 << 20, idle_after: Duration::from_millis(5), ..Config::default() };
    let engine = tiny_engine(config);
    let hash = engine.register(tiny_adapter(engine.base(), 1));
    for _ in 0..3 {
        let open: Vec<_> = (0..8u32)
            .map(|i| GenerateRequest {
                adapters: (i % 2 == 0).then(|| (hash.into(), 1.0)).into_iter().collect(),
                ..ask(None, &[i; 20], 30)
            })
            .map(|request| engine.generate(request).expect("room"))
            .collect();
        let all: Vec<_> = open.into_iter().map(|mut events| receive(&mut events)).collect();
        let adapter = tiny_adapter(engine.base(), 1);
        for (i, answer) in (0u32..).zip(all) {
            let expected =
                exact_answer(engine.base(), (i % 2 == 0).then_some(&adapter), &[i; 20], 30);
            assert_eq!(answer.map(|all| all.0), Ok(expected));
        }
        wait_until("the memory", || {
            let gauges = engine.metrics().gauges;
            (gauges.pages_taken, gauges.pages_cached) == (0, 0)
        });
        let gauges = engine.metrics().gauges;
        assert_eq!((gauges.pages_available, gauges.adapters_resident), (gauges.pages, 1));
    }
}
