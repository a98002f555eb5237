//! Random use of the memory against a plain model: what every page ought to hold, and who holds it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::prefix_cache::Readers;

const ADAPTERS: u32 = 4;
const ADAPTER_PAGES_MAX: usize = 5;

/// What a page holds follows from the adapters and every token up to its end.
type Content = (Vec<(AdapterId, u32)>, Vec<u32>);

struct Sequence {
    scope: Arc<Scope>,
    tokens: Vec<u32>,
    computed: usize,
    table: BlockTable,
}

struct World {
    memory: Memory,
    written: BTreeMap<(PageId, usize), Content>,
    sequences: Vec<Sequence>,
    budget: usize,
}

#[derive(Debug, Clone)]
enum Act {
    Begin { adapter: Option<u32>, tokens: Vec<u32> },
    Compute { sequence: usize, tokens: usize },
    Extend { sequence: usize, token: u32 },
    End { sequence: usize },
    Load { adapter: u32, guess: usize, pages: usize, micros: u64 },
    Fail { adapter: u32, guess: usize },
    Pin { adapter: u32, pinned: bool },
    Unload { adapter: u32 },
    Touch { adapter: u32 },
    Tick,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let adapter = 0..ADAPTERS;
    let size = 1..=ADAPTER_PAGES_MAX;
    let act = prop_oneof![
        4 => (proptest::option::of(adapter.clone()), proptest::collection::vec(0u32..2, 1..4), 1usize..70)
            .prop_map(|(adapter, seed, n)| Act::Begin {
                adapter,
                tokens: seed.iter().copied().cycle().take(n).collect(),
            }),
        8 => (any::<usize>(), 1usize..40)
            .prop_map(|(sequence, tokens)| Act::Compute { sequence, tokens }),
        4 => (any::<usize>(), 0u32..2).prop_map(|(sequence, token)| Act::Extend { sequence, token }),
        3 => any::<usize>().prop_map(|sequence| Act::End { sequence }),
        4 => (adapter.clone(), size.clone(), size.clone(), 0u64..5_000)
            .prop_map(|(adapter, guess, pages, micros)| Act::Load { adapter, guess, pages, micros }),
        1 => (adapter.clone(), size).prop_map(|(adapter, guess)| Act::Fail { adapter, guess }),
        1 => (adapter.clone(), any::<bool>())
            .prop_map(|(adapter, pinned)| Act::Pin { adapter, pinned }),
        1 => adapter.clone().prop_map(|adapter| Act::Unload { adapter }),
        1 => adapter.prop_map(|adapter| Act::Touch { adapter }),
        3 => Just(Act::Tick),
    ];
    proptest::collection::vec(act, 1..120)
}

impl World {
    fn new(budget: usize) -> Self {
        let memory = Memory::new(budget);
        Self { memory, written: BTreeMap::new(), sequences: Vec::new(), budget }
    }

    fn act(&mut self, act: Act) {
        let count = self.sequences.len();
        match act {
            Act::Begin { adapter, tokens } => self.begin(adapter.map(AdapterId), tokens),
            Act::Compute { sequence, tokens } if count > 0 => {
                self.compute(sequence % count, tokens)
            }
            Act::Extend { sequence, token } if count > 0 => {
                self.sequences[sequence % count].tokens.push(token);
            }
            Act::End { sequence } if count > 0 => {
                let ended = self.sequences.swap_remove(sequence % count);
                self.memory.end(ended.table);
            }
            Act::Load { adapter, guess, pages, micros } => {
                let id = AdapterId(adapter);
                if self.memory.presence(id) == Presence::Absent && self.memory.begin_load(id, guess)
                {
                    assert_eq!(self.memory.presence(id), Presence::Loading);
                    let arrived = self.memory.finish_load(id, pages, micros);
                    assert_eq!(arrived, self.memory.presence(id) == Presence::Loaded);
                }
            }
            Act::Fail { adapter, guess } => {
                let id = AdapterId(adapter);
                if self.memory.presence(id) == Presence::Absent && self.memory.begin_load(id, guess)
                {
                    self.memory.fail_load(id);
                    assert_eq!(self.memory.presence(id), Presence::Absent);
                }
            }
            Act::Pin { adapter, pinned } => {
                self.memory.set_pinned(AdapterId(adapter), pinned);
            }
            Act::Unload { adapter } => {
                let id = AdapterId(adapter);
                let used =
                    self.sequences.iter().any(|s| s.scope.blend.iter().any(|(a, _)| *a == id));
                assert!(!(self.memory.unload(id) && used), "an adapter in use was unloaded");
            }
            Act::Touch { adapter } => self.memory.touch(AdapterId(adapter)),
            Act::Tick => self.memory.tick(),
            _ => {}
        }
        self.check();
    }

    fn begin(&mut self, adapter: Option<AdapterId>, tokens: Vec<u32>) {
        if adapter.is_some_and(|id| self.memory.presence(id) != Presence::Loaded) {
            return;
        }
        let blend = adapter.iter().map(|id| (*id, 1.0f32.to_bits())).collect();
        let scope = Arc::new(Scope { blend, merged: false, readers: Readers::default() });
        let (table, computed) = self.memory.begin(&scope, &tokens);
        assert!(computed < tokens.len(), "the last token is always read");
        self.sequences.push(Sequence { scope, tokens, computed, table });
    }

    fn compute(&mut self, index: usize, tokens: usize) {
        let sequence = &mut self.sequences[index];
        let wish = sequence.tokens.len().min(sequence.computed + tokens);
        let covered = self.memory.cover(&mut sequence.table, wish);
        for position in sequence.computed..covered {
            let page = sequence.table.pages()[position / PAGE_TOKENS];
            let content = (sequence.scope.blend.to_vec(), sequence.tokens[..=position].to_vec());
            self.written.insert((page, position % PAGE_TOKENS), content);
        }
        sequence.computed = sequence.computed.max(covered);
        let held = &sequence.tokens[..sequence.computed];
        self.memory.filled(&mut sequence.table, held);
    }

    fn check(&self) {
        let mut held: BTreeSet<PageId> = BTreeSet::new();
        for sequence in &self.sequences {
            held.extend(sequence.table.pages());
            for position in 0..sequence.computed {
                let page = sequence.table.pages()[position / PAGE_TOKENS];
                let content = &self.written[&(page, position % PAGE_TOKENS)];
                assert_eq!(content.0, sequence.scope.blend.to_vec(), "another adapter's page");
                assert_eq!(content.1, sequence.tokens[..=position], "another text's page");
            }
            for (adapter, _) in sequence.scope.blend.iter() {
                assert_eq!(self.memory.presence(*adapter), Presence::Loaded);
            }
        }
        let pool = self.memory.pool();
        assert_eq!(pool.in_use(), held.len() + self.memory.prefixes().idle_pages());
        let charged = (0..ADAPTERS).filter_map(|id| self.memory.adapters().pages(AdapterId(id)));
        assert_eq!(pool.charged(), charged.sum::<usize>());
        assert!(pool.in_use() + pool.charged() <= self.budget);
    }

    /// Everybody leaves, and everything idle is evicted.
    fn empty(mut self) {
        for sequence in std::mem::take(&mut self.sequences) {
            self.memory.end(sequence.table);
        }
        for id in (0..ADAPTERS).map(AdapterId) {
            self.memory.set_pinned(id, false);
        }
        self.memory.tick();
        assert_eq!(self.memory.available(), self.budget, "something leaked");
        assert!(self.memory.make_room(self.budget, u64::MAX));
        assert_eq!(self.memory.prefixes().pages(), 0);
        assert_eq!(self.memory.adapters().loaded(), 0);
        assert_eq!(self.memory.pool().room(), self.budget);
    }
}

proptest! {
    #[test]
    fn no_use_of_the_memory_leaks_or_mixes_pages_or_exceeds_the_budget(
        acts in acts(),
        budget in 1usize..24,
    ) {
        let mut world = World::new(budget);
        for act in acts {
            world.act(act);
        }
        world.empty();
    }
}

fn base() -> Arc<Scope> {
    Arc::new(Scope { blend: Arc::from([]), merged: false, readers: Readers::default() })
}

fn computed(memory: &mut Memory, scope: &Arc<Scope>, tokens: &[u32]) -> (BlockTable, usize) {
    let (mut table, cached) = memory.begin(scope, tokens);
    assert_eq!(memory.cover(&mut table, tokens.len()), tokens.len());
    memory.filled(&mut table, tokens);
    (table, cached)
}

#[test]
fn a_prompt_that_was_read_before_is_read_again_from_its_pages() {
    let mut memory = Memory::new(16);
    let tokens: Vec<u32> = (0..40).collect();
    let (table, _) = computed(&mut memory, &base(), &tokens);
    let pages = table.pages().to_vec();
    memory.end(table);
    let (table, cached) = computed(&mut memory, &base(), &tokens);
    assert_eq!(cached, 32);
    assert_eq!(table.pages()[..2], pages[..2]);
}

#[test]
fn another_blend_never_reads_the_pages_of_the_base() {
    let mut memory = Memory::new(16);
    let tokens: Vec<u32> = (0..40).collect();
    let (_base, _) = computed(&mut memory, &base(), &tokens);
    for adapter in [0, 1].map(AdapterId) {
        assert!(memory.begin_load(adapter, 1) && memory.finish_load(adapter, 1, 0));
    }
    let blends: [&[(AdapterId, f32)]; 3] = [
        &[(AdapterId(0), 1.0)],
        &[(AdapterId(0), 0.5)],
        &[(AdapterId(0), 0.5), (AdapterId(1), 0.5)],
    ];
    for blend in blends {
        let blend = blend.iter().map(|(id, weight)| (*id, weight.to_bits())).collect();
        let scope = Arc::new(Scope { blend, merged: false, readers: Readers::default() });
        let (table, cached) = memory.begin(&scope, &tokens);
        assert_eq!(cached, 0);
        memory.end(table);
    }
}

#[test]
fn two_sequences_that_read_the_same_at_once_end_up_with_the_same_pages() {
    let mut memory = Memory::new(16);
    let tokens: Vec<u32> = (0..33).collect();
    let (mut first, _) = memory.begin(&base(), &tokens);
    let (mut second, cached) = memory.begin(&base(), &tokens);
    assert_eq!(cached, 0);
    for table in [&mut first, &mut second] {
        memory.cover(table, tokens.len());
    }
    assert_eq!(memory.pool().in_use(), 6);
    for table in [&mut first, &mut second] {
        memory.filled(table, &tokens);
    }
    assert_eq!(first.pages()[..2], second.pages()[..2]);
    assert_eq!(memory.pool().in_use(), 4);
}

#[test]
fn an_adapter_that_is_dear_to_load_outlasts_one_that_is_cheap() {
    let mut memory = Memory::new(4);
    for (id, micros) in [(0, 100_000), (1, 0)] {
        assert!(
            memory.begin_load(AdapterId(id), 2) && memory.finish_load(AdapterId(id), 2, micros)
        );
        memory.tick();
    }
    assert!(memory.begin_load(AdapterId(2), 2));
    assert_eq!(memory.take_evicted(), [AdapterId(1)]);
    assert_eq!(memory.presence(AdapterId(0)), Presence::Loaded);
}

#[test]
fn keys_and_values_take_the_room_of_idle_adapters_but_not_of_pinned_ones() {
    let mut memory = Memory::new(4);
    for id in [0, 1].map(AdapterId) {
        assert!(memory.begin_load(id, 2) && memory.finish_load(id, 2, 0));
    }
    assert!(memory.set_pinned(AdapterId(0), true));
    let (mut table, _) = memory.begin(&base(), &[0; 64]);
    assert_eq!(memory.cover(&mut table, 64), 32);
    assert_eq!(memory.take_evicted(), [AdapterId(1)]);
    assert_eq!(memory.presence(AdapterId(0)), Presence::Loaded);
}
