//! The scheduler with a fake model: every answer is the one its request gets alone.

use proptest::prelude::*;

use super::*;
use crate::fake_model::{FakeAdapter, FakeMerged, FakeModel, VOCABULARY, answer};
use crate::model::{Model, Step};
use crate::prefix_cache::Readers;

/// Steps within which everything must have ended; far above what any case needs.
const STEPS_MAX: usize = 20_000;
const ADAPTERS: u32 = 6;
/// This adapter is broken.
const BROKEN: AdapterId = AdapterId(5);

#[derive(Debug, Clone)]
struct Ask {
    tenant: u8,
    adapters: Vec<u32>,
    prompt: Vec<u32>,
    tokens_max: usize,
    /// Answers to the prompt; all but the first wait until it was read.
    answers: usize,
    /// Step in which it comes.
    at: usize,
    /// Steps after which its client leaves.
    patience: Option<usize>,
}

fn asks(count: usize) -> impl Strategy<Value = Vec<Ask>> {
    let prompt = (proptest::collection::vec(0u32..2, 1..3), 1usize..60)
        .prop_map(|(seed, n)| seed.iter().copied().cycle().take(n).collect());
    let adapters = prop_oneof![
        2 => Just(vec![]),
        6 => proptest::collection::vec(0..ADAPTERS, 1..=1),
        2 => proptest::collection::btree_set(0..ADAPTERS, 2).prop_map(|set| set.into_iter().collect()),
    ];
    let patience = proptest::option::weighted(0.3, 0usize..60);
    let ask = (0u8..3, adapters, prompt, 1usize..40, 1usize..4, 0usize..80, patience);
    let ask = ask.prop_map(|(tenant, adapters, prompt, tokens_max, answers, at, patience)| Ask {
        tenant,
        adapters,
        prompt,
        tokens_max,
        answers,
        at,
        patience,
    });
    proptest::collection::vec(ask, 1..count)
}

struct World {
    scheduler: Scheduler,
    model: FakeModel,
    /// Loads under way: when each arrives.
    loads: Vec<(usize, AdapterId)>,
    load_steps: usize,
    in_memory: BTreeSet<AdapterId>,
    step: usize,
    limits: Limits,
    budget: usize,
}

/// A fake adapter's true size differs from what was thought.
fn true_pages(id: AdapterId) -> usize {
    1 + id.0 as usize
}

impl World {
    fn new(budget: usize, batch_max: usize, step_tokens_max: usize, load_steps: usize) -> Self {
        let limits = Limits { batch_max, step_tokens_max, loads_max: 2, longest: 1 };
        let mut scheduler = Scheduler::new(limits, Memory::new(budget));
        (0..ADAPTERS).for_each(|id| scheduler.set_adapter_pages(AdapterId(id), 2));
        Self {
            scheduler,
            model: FakeModel::default(),
            loads: Vec::new(),
            load_steps,
            in_memory: BTreeSet::new(),
            step: 0,
            limits,
            budget,
        }
    }

    /// Submits the next answer to a prompt.
    fn submit(
        &mut self,
        ask: &Ask,
        leader: Option<SequenceId>,
    ) -> Result<SequenceId, (usize, usize)> {
        self.scheduler.submit(Job {
            tenant: ask.tenant.to_string().into(),
            blend: ask.adapters.iter().map(|id| (AdapterId(*id), 1.0f32.to_bits())).collect(),
            merged: false,
            readers: Readers::default(),
            prompt: ask.prompt.clone(),
            tokens_max: ask.tokens_max,
            leader,
        })
    }

    /// One step. Returns the tokens generated in it, and the sequences that failed.
    fn step(&mut self) -> (Vec<(SequenceId, u32)>, Vec<SequenceId>) {
        self.step += 1;
        let mut failed = Vec::new();
        let (due, later) = self.loads.drain(..).partition(|(at, _)| *at <= self.step);
        self.loads = later;
        let due: Vec<(usize, AdapterId)> = due;
        for (_, id) in due {
            if id == BROKEN {
                failed.extend(self.scheduler.load_failed(id));
                continue;
            }
            let (kept, hopeless) = self.scheduler.loaded(id, true_pages(id), 100);
            if kept {
                self.in_memory.insert(id);
            }
            failed.extend(hopeless);
        }
        let plan = self.scheduler.plan();
        self.check(&plan);
        let evicted = self.scheduler.memory_mut().take_evicted();
        evicted.iter().for_each(|id| assert!(self.in_memory.remove(id), "evicted twice"));
        self.loads.extend(plan.loads.iter().map(|id| (self.step + self.load_steps, *id)));
        (self.run(&plan), failed)
    }

    fn check(&self, plan: &Plan) {
        let tokens: usize = plan.rows.iter().map(|row| row.tokens.len()).sum();
        assert!(tokens <= self.limits.step_tokens_max, "{tokens} tokens in a step");
        assert!(plan.rows.len() <= self.limits.batch_max, "{} rows", plan.rows.len());
        let pool = self.scheduler.memory().pool();
        assert!(pool.in_use() + pool.charged() <= self.budget, "the budget is exceeded");
        let mut rows: Vec<SequenceId> = plan.rows.iter().map(|row| row.sequence).collect();
        rows.sort();
        rows.dedup();
        assert_eq!(rows.len(), plan.rows.len(), "a sequence has one row");
    }

    fn run(&mut self, plan: &Plan) -> Vec<(SequenceId, u32)> {
        let scheduler = &self.scheduler;
        let parts: Vec<_> = plan.rows.iter().map(|row| scheduler.row(row)).collect();
        let adapters: Vec<Vec<(Arc<FakeAdapter>, f32)>> = parts
            .iter()
            .map(|(_, _, _, sequence)| {
                let adapter = |(id, weight): &(AdapterId, u32)| {
                    assert!(self.in_memory.contains(id), "{id:?} is not in memory");
                    (Arc::new(FakeAdapter::new(u64::from(id.0))), f32::from_bits(*weight))
                };
                sequence.blend().iter().map(adapter).collect()
            })
            .collect();
        let batch: Vec<Step<'_, FakeAdapter, FakeMerged>> = parts
            .iter()
            .zip(&plan.rows)
            .zip(&adapters)
            .map(|(((tokens, before, pages, _), row), adapters)| Step {
                tokens,
                before: *before,
                pages,
                adapters,
                merged: None,
                logits_wanted: row.logits_wanted,
            })
            .collect();
        let logits = self.model.step(&batch).expect("every page holds what it should");
        self.scheduler.ran(&plan.rows);
        let greedy = |logits: Vec<f32>| {
            (0..VOCABULARY as u32)
                .max_by(|a, b| logits[*a as usize].total_cmp(&logits[*b as usize]))
        };
        let rows = plan.rows.iter().zip(logits);
        rows.filter_map(|(row, logits)| Some((row.sequence, greedy(logits?)?))).collect()
    }

    fn assert_empty(&mut self) {
        assert_eq!((self.scheduler.waiting(), self.scheduler.running()), (0, 0));
        // What is still on its way arrives.
        for _ in 0..=self.load_steps {
            self.step();
        }
        assert_eq!(self.scheduler.memory().available(), self.budget, "something leaked");
    }
}

struct Asked {
    ask: Ask,
    got: Vec<u32>,
    left_at: Option<usize>,
}

impl Asked {
    fn expected(&self) -> Vec<u32> {
        let blend: Vec<(u64, f32)> =
            self.ask.adapters.iter().map(|id| (u64::from(*id), 1.0)).collect();
        answer(&blend, &self.ask.prompt, self.ask.tokens_max)
    }
}

/// Runs all requests to their ends and checks every answer.
fn run(world: &mut World, mut asks: Vec<Ask>) {
    asks.sort_by_key(|ask| std::cmp::Reverse(ask.at));
    let mut open: BTreeMap<SequenceId, Asked> = BTreeMap::new();
    while !asks.is_empty() || !open.is_empty() {
        assert!(world.step < STEPS_MAX, "{} requests never end", open.len());
        while asks.last().is_some_and(|ask| ask.at <= world.step) {
            let ask = asks.pop().expect("there is one");
            let mut leader = None;
            for answer in 0..ask.answers {
                let Ok(id) = world.submit(&ask, leader) else { break };
                leader = leader.or(Some(id));
                // Some leave that others follow.
                let left_at = ask.patience.map(|patience| world.step + patience + 9 * answer);
                open.insert(id, Asked { ask: ask.clone(), got: Vec::new(), left_at });
            }
        }
        let leave = |(_, asked): &(&SequenceId, &Asked)| asked.left_at == Some(world.step);
        let leaving: Vec<SequenceId> = open.iter().filter(leave).map(|(id, _)| *id).collect();
        for id in leaving {
            world.scheduler.end(id);
            let asked = open.remove(&id).expect("it was open");
            assert!(asked.expected().starts_with(&asked.got));
        }
        let (tokens, failed) = world.step();
        for id in failed {
            let asked = open.remove(&id).expect("it was open");
            let broken = asked.ask.adapters.contains(&BROKEN.0);
            let ask = &asked.ask;
            // What is thought of an adapter's size counts until it was loaded.
            let adapters = ask.adapters.iter().map(|id| true_pages(AdapterId(*id)).max(2));
            let needed = adapters.sum::<usize>() + pages_of(ask.prompt.len() + ask.tokens_max - 1);
            assert!(broken || needed > world.budget, "{ask:?} failed without a reason");
            assert!(asked.got.is_empty());
        }
        for (id, token) in tokens {
            let asked = open.get_mut(&id).expect("only open requests get tokens");
            asked.got.push(token);
            if asked.got.len() == asked.ask.tokens_max {
                assert_eq!(asked.got, asked.expected(), "another answer than alone");
                open.remove(&id);
                world.scheduler.end(id);
            } else {
                world.scheduler.push(id, token);
            }
        }
    }
    world.assert_empty();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_request_gets_the_answer_it_gets_alone_and_nothing_leaks(
        asks in asks(40),
        budget in 8usize..40,
        batch_max in 1usize..8,
        extra in 0usize..64,
        load_steps in 0usize..6,
    ) {
        run(&mut World::new(budget, batch_max, batch_max + extra, load_steps), asks);
    }
}

fn ask(tenant: u8, prompt: usize, tokens_max: usize) -> Ask {
    let prompt = (0..prompt).map(|i| (i % 7) as u32 + u32::from(tenant)).collect();
    Ask { tenant, adapters: vec![], prompt, tokens_max, answers: 1, at: 0, patience: None }
}

#[test]
fn ten_thousand_clients_that_leave_take_nothing_with_them() {
    let mut world = World::new(48, 8, 64, 2);
    let mut open: std::collections::VecDeque<SequenceId> = std::collections::VecDeque::new();
    for i in 0..10_000usize {
        let mut ask = ask((i % 5) as u8, 1 + i * 7 % 50, 1 + i * 3 % 30);
        ask.adapters = if i % 3 == 0 { vec![] } else { vec![(i % 5) as u32] };
        open.push_back(world.submit(&ask, None).expect("it fits"));
        if i % 4 == 0 {
            let (tokens, _) = world.step();
            tokens.into_iter().for_each(|(id, token)| world.scheduler.push(id, token));
        }
        if open.len() > 20 {
            // Old ones that run and young ones that wait.
            let leaving = if i % 2 == 0 { open.pop_front() } else { open.pop_back() };
            world.scheduler.end(leaving.expect("there is one"));
        }
    }
    open.into_iter().for_each(|id| world.scheduler.end(id));
    world.assert_empty();
}

#[test]
fn a_tenant_with_a_thousand_requests_delays_another_by_no_more_than_a_batch() {
    let mut world = World::new(256, 4, 64, 0);
    let greedy: Vec<SequenceId> =
        (0..1000).map(|_| world.submit(&ask(0, 20, 10), None).expect("it fits")).collect();
    let mut left: BTreeMap<SequenceId, usize> = greedy.into_iter().map(|id| (id, 10)).collect();
    let mut small = None;
    for step in 0..200 {
        if step == 50 {
            small = Some(world.submit(&ask(1, 20, 10), None).expect("it fits"));
        }
        for (id, token) in world.step().0 {
            if Some(id) == small {
                // A place is free after at most one whole answer.
                assert!(step <= 50 + 20, "the first token came at step {step}");
                return;
            }
            let left = left.get_mut(&id).expect("it is open");
            *left -= 1;
            match *left {
                0 => world.scheduler.end(id),
                _ => world.scheduler.push(id, token),
            }
        }
    }
    panic!("the small tenant was never served");
}

#[test]
fn of_two_tenants_that_always_wait_neither_gets_ahead_by_more_than_a_batch() {
    const BATCH: usize = 6;
    let shapes = [(60, 4), (5, 30)];
    let mut world = World::new(256, BATCH, 128, 0);
    let mut open: BTreeMap<SequenceId, (u8, usize)> = BTreeMap::new();
    let mut served = [0usize; 2];
    let mut open_of = [0usize; 2];
    let bound = BATCH * (60 + 30);
    let mut worst = 0;
    for _ in 0..3_000 {
        for tenant in 0..2u8 {
            // More than there are places, so that some always wait.
            while open_of[tenant as usize] < BATCH + 2 {
                let (prompt, tokens) = shapes[tenant as usize];
                let id = world.submit(&ask(tenant, prompt, tokens), None).expect("it fits");
                open.insert(id, (tenant, tokens));
                open_of[tenant as usize] += 1;
            }
        }
        for (id, token) in world.step().0 {
            let (tenant, left) = open.get_mut(&id).expect("it is open");
            served[*tenant as usize] += 1;
            *left -= 1;
            match *left {
                0 => {
                    open_of[*tenant as usize] -= 1;
                    open.remove(&id);
                    world.scheduler.end(id);
                }
                _ => world.scheduler.push(id, token),
            }
        }
        let counters = ["0", "1"].map(|tenant| world.scheduler.tenants.served(tenant));
        worst = worst.max(counters[0].abs_diff(counters[1]));
    }
    assert!(worst as usize <= bound, "one was ahead by {worst} tokens");
    assert!(served.iter().all(|tokens| *tokens > 1_000), "both were served: {served:?}");
}

#[test]
fn answers_go_on_while_an_adapter_is_loading() {
    let mut world = World::new(64, 4, 32, 50);
    let running = world.submit(&ask(0, 4, 40), None).expect("it fits");
    let mut cold = ask(1, 4, 1);
    cold.adapters = vec![0];
    let cold = world.submit(&cold, None).expect("it fits");
    for step in 0..30 {
        let (tokens, _) = world.step();
        assert_eq!(tokens.len(), 1, "step {step} gave nothing");
        assert_eq!(tokens[0].0, running);
        world.scheduler.push(running, tokens[0].1);
    }
    world.scheduler.end(running);
    let arrived = (0..60).find_map(|_| world.step().0.pop());
    assert_eq!(arrived.map(|(id, _)| id), Some(cold));
}

#[test]
fn answers_that_share_a_prompt_share_its_pages() {
    let mut world = World::new(64, 8, 128, 0);
    let prompt: Vec<u32> = (0..64).map(|i| i % 11).collect();
    let mut leader = None;
    for _ in 0..4 {
        let job = Job {
            tenant: "t".into(),
            blend: Arc::from([]),
            merged: false,
            readers: Readers::default(),
            prompt: prompt.clone(),
            tokens_max: 8,
            leader,
        };
        let id = world.scheduler.submit(job).expect("it fits");
        leader = leader.or(Some(id));
    }
    for _ in 0..3 {
        for (id, token) in world.step().0 {
            world.scheduler.push(id, token);
        }
    }
    // 64 prompt tokens: three pages are shared, the fourth ends in the token each must read itself,
    // and is then found to be the same.
    assert_eq!(world.scheduler.running(), 4);
    assert_eq!(world.scheduler.memory().pool().in_use(), 4 + 4);
    assert_eq!(world.scheduler.prompt_tokens_cached(), 3 * 48);
}

#[test]
fn a_request_that_would_not_fit_alone_is_refused_with_the_sizes() {
    let mut world = World::new(4, 2, 8, 0);
    assert_eq!(world.submit(&ask(0, 60, 10), None), Err((5, 4)));
}
