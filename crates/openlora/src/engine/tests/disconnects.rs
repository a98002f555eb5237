//! Clients that leave a real engine at any moment.

use super::{
    real_decoder::{exact_answer, tiny_adapter, tiny_engine},
    *,
};

#[test]
fn clients_that_leave_a_real_engine_free_everything() {
    leave(1_000);
}

#[test]
#[ignore = "ten seconds; run by `cargo xtask test --full`"]
fn ten_thousand_clients_that_leave_a_real_engine_free_everything() {
    leave(10_000);
}

/// Clients that leave at once, in the queue, or after any number of tokens.
fn leave(clients: u64) {
    let config = Config { memory_bytes: 1 << 20, batch_max: 8, ..Config::default() };
    let engine = tiny_engine(config);
    let adapters = [1, 2].map(|seed| engine.register(tiny_adapter(engine.base(), seed)));
    for hash in adapters {
        let request = GenerateRequest { adapters: vec![(hash.into(), 1.0)], ..ask(None, &[1], 2) };
        assert!(receive(&mut engine.generate(request).expect("room")).is_ok());
    }
    wait_until("quiet", || engine.metrics().gauges.pages_running == 0);
    let before = engine.capacity();
    let mut state = 1u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut listening = std::collections::VecDeque::new();
    for _ in 0..clients {
        let blend = (0..random(3)).map(|i| (adapters[i as usize].into(), 0.5)).collect();
        let prompt = vec![random(60) as u32; 1 + random(25) as usize];
        let request = GenerateRequest {
            adapters: blend,
            tenant: random(5).to_string().into(),
            ..ask(None, &prompt, 1 + random(70) as usize)
        };
        match engine.generate_all(request, 1 + random(3) as usize) {
            Ok(all) => listening.push_back((all, random(12))),
            Err(Error::Overloaded { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
        // Some leave at once, the others in their turn, after a number of tokens.
        if random(4) == 0 {
            drop(listening.pop_back());
        }
        while listening.len() > 12 {
            let Some((mut all, tokens)) = listening.pop_front() else { break };
            (0..tokens).for_each(|_| drop(all[0].blocking_recv()));
        }
    }
    drop(listening);
    wait_until("quiet", || {
        let gauges = engine.metrics().gauges;
        (gauges.waiting, gauges.running, gauges.pages_running) == (0, 0, 0)
    });
    assert_eq!(engine.capacity(), before);
    let metrics = engine.metrics();
    assert!(metrics.cancelled > clients / 2, "{} were cancelled", metrics.cancelled);
    assert_eq!((metrics.failed, metrics.gauges.pages_pinned), (0, 0));
    // What nobody holds can be let go.
    for hash in adapters {
        assert_eq!(engine.unregister(&hash.into()), Ok(()));
    }
    let mut last = engine.generate(ask(None, &[1, 2, 3], 5)).expect("room");
    let expected = exact_answer(engine.base(), None, &[1, 2, 3], 5);
    assert_eq!(receive(&mut last).map(|all| all.0), Ok(expected));
    wait_until("no adapter", || engine.capacity().adapter_bytes == 0);
}
