//! More adapters than there is room for, some of them broken: load after load, and nothing is left behind.

use super::*;

/// Asks adapter after adapter for one token and lets one client in eight go away; returns the most
/// adapters that were alive at any time.
fn churn(count: u64, rounds: u64) -> i64 {
    let root = tempfile::tempdir().expect("writable");
    folders(root.path(), 0..count);
    let loader = FakeLoader::default();
    let live = Arc::clone(&loader.live);
    let engine = fake(loader, Config::default());
    assert_eq!(engine.register_all(root.path()).expect("readable"), count as usize);
    let (mut most, mut served, mut broken) = (0, 0u64, 0u64);
    for number in (0..rounds).flat_map(|_| 0..count) {
        match engine.generate(ask(Some(number), &[1, 2, 3], 1)) {
            Ok(_) if number % 8 == 5 => {}
            Ok(mut events) => match receive(&mut events) {
                Ok((tokens, _)) => {
                    assert_eq!(tokens, answer(&[(number, 1.0)], &[1, 2, 3], 1));
                    served += 1;
                }
                Err(error) => {
                    assert!(number == REFUSED || number % 100 == BROKEN, "{error}");
                    broken += 1;
                }
            },
            Err(Error::BrokenAdapter { .. }) => broken += 1,
            Err(error) => panic!("{error}"),
        }
        most = most.max(live.load(Ordering::Relaxed));
    }
    assert!(served > rounds * count * 4 / 5, "{served} were served");
    assert!(broken >= rounds * count / 200, "{broken} were broken");
    wait_until("quiet", || {
        let gauges = engine.metrics().gauges;
        (gauges.waiting, gauges.running, gauges.adapters_loading) == (0, 0, 0)
    });
    let gauges = engine.metrics().gauges;
    assert_eq!(gauges.pages_available, gauges.pages, "something leaked");
    assert!(live.load(Ordering::Relaxed) <= gauges.adapters_resident as i64);
    drop(engine);
    wait_until("the end", || live.load(Ordering::Relaxed) == 0);
    most
}

#[test]
fn loading_and_evicting_leaves_no_adapter_behind() {
    // 64 pages, of which an adapter takes one to three; beside them what is on its way.
    let most = churn(1_000, 2);
    assert!(most <= 64 + 16, "{most} adapters were alive at once");
}

#[test]
#[ignore = "makes a hundred thousand folders; run by `cargo xtask test --full`"]
fn a_hundred_thousand_adapters_can_be_called_and_leave_memory_flat() {
    let resident = || -> i64 {
        let statm = fs::read_to_string("/proc/self/statm").expect("this is Linux");
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<i64>().ok());
        pages.expect("two numbers") * 4096
    };
    let before = resident();
    let most = churn(100_000, 1);
    assert!(most <= 64 + 16, "{most} adapters were alive at once");
    let grown = resident() - before;
    assert!(grown < 64 << 20, "{grown} bytes more than before");
}
