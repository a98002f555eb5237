//! What the next step computes: which sequences, which of their tokens, and what has to be loaded.
//!
//! ```text
//! submit ─▶ Tenants (waiting) ─▶ admitted: adapters held, pages begun ─▶ rows of every step ─▶ end
//!                 ▲                                                  │
//!                 └────────── pages ran out: the youngest waits again ┘
//! ```
//!
//! Pure: no thread, no clock, no model. A step is `plan`, the model, `ran`, then `push` or `end` for each
//! row with logits.
//!
//! When pages run out the youngest answer gives its pages back and waits; its tokens are kept and read
//! again later, so no answer is lost and none changes. The oldest never gives way, so something always
//! ends.
//!
//! **Invariant:** a step reads at most `step_tokens_max` tokens, one of every answer first, then pieces of
//! prompts.
//! **Invariant:** a request waits for its own adapter only; while that loads, others pass it.
//! **Invariant:** a request that was passed over for want of room `PATIENCE_PLANS` times is next: nothing
//! else is admitted before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use crate::{
    adapter_id::AdapterId,
    memory::Memory,
    pages::{PageId, pages_of},
    prefix_cache::Blend,
    residency::Presence,
    sequence::{Job, Sequence, SequenceId},
    tenants::Tenants,
};

/// Plans that a request without room lets others pass.
const PATIENCE_PLANS: u32 = 64;

/// Bounds of one engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Sequences in a step.
    pub(crate) batch_max: usize,
    /// Tokens in a step, at least `batch_max`.
    pub(crate) step_tokens_max: usize,
    /// Adapters on their way at the same time.
    pub(crate) loads_max: usize,
    /// Tokens of the longest sequence there can be.
    pub(crate) longest: usize,
}

/// The tokens of one sequence that a step reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) sequence: SequenceId,
    /// Places in the sequence.
    pub(crate) tokens: Range<usize>,
    /// Whether these are its last ones.
    pub(crate) logits_wanted: bool,
}

/// One step.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Neighbours share adapters where that is possible.
    pub(crate) rows: Vec<Row>,
    /// Adapters to be loaded.
    pub(crate) loads: Vec<AdapterId>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Scheduler {
    limits: Limits,
    memory: Memory,
    tenants: Tenants,
    sequences: BTreeMap<SequenceId, Sequence>,
    running: BTreeSet<SequenceId>,
    /// Pages of each adapter that was asked for, by its number; 0 is unknown.
    adapter_pages: Vec<u32>,
    next: u64,
    preemptions: u64,
    prompt_tokens_cached: u64,
}

impl Scheduler {
    pub(crate) fn new(limits: Limits, memory: Memory) -> Self {
        assert!(limits.batch_max > 0 && limits.batch_max <= limits.step_tokens_max);
        Self {
            limits,
            memory,
            tenants: Tenants::default(),
            sequences: BTreeMap::new(),
            running: BTreeSet::new(),
            adapter_pages: Vec::new(),
            next: 0,
            preemptions: 0,
            prompt_tokens_cached: 0,
        }
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(crate) fn memory_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }

    pub(crate) fn waiting(&self) -> usize {
        self.tenants.waiting()
    }

    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn preemptions(&self) -> u64 {
        self.preemptions
    }

    /// Tokens of prompts that did not have to be read because their pages were cached.
    pub(crate) fn prompt_tokens_cached(&self) -> u64 {
        self.prompt_tokens_cached
    }

    /// Tells the size of an adapter: what is known before it is loaded, then what it took.
    pub(crate) fn set_adapter_pages(&mut self, id: AdapterId, pages: usize) {
        let index = id.0 as usize;
        if self.adapter_pages.len() <= index {
            self.adapter_pages.resize(index + 1, 0);
        }
        self.adapter_pages[index] = u32::try_from(pages.max(1)).unwrap_or(u32::MAX);
    }

    /// As [`Self::set_adapter_pages`], where nothing better is known.
    pub(crate) fn expect_adapter_pages(&mut self, id: AdapterId, pages: usize) {
        if self.adapter_pages.get(id.0 as usize).is_none_or(|known| *known == 0) {
            self.set_adapter_pages(id, pages);
        }
    }

    /// Pins an adapter that is in memory (`None`), or says what has to be waited for: an arrival, whose
    /// load has to be begun if the value is true. `Err((needed, there))`: pinned, it would leave too
    /// little for the longest sequence; pages.
    pub(crate) fn begin_pin(&mut self, id: AdapterId) -> Result<Option<bool>, (usize, usize)> {
        let pages = self.pages_of_adapter(id);
        let adapters = self.memory.adapters();
        let pinned = adapters.pinned_pages() + if adapters.is_pinned(id) { 0 } else { pages };
        let there = self.memory.pool().budget().saturating_sub(pinned);
        let needed = self.largest_need().max(pages_of(self.limits.longest));
        if needed > there {
            return Err((needed, there));
        }
        match self.memory.presence(id) {
            Presence::Loaded => {
                self.memory.set_pinned(id, true);
                Ok(None)
            }
            Presence::Loading => Ok(Some(false)),
            Presence::Absent if self.memory.begin_load(id, pages) => Ok(Some(true)),
            Presence::Absent => Err((pages, self.memory.available())),
        }
    }

    fn pages_of_adapter(&self, id: AdapterId) -> usize {
        self.adapter_pages.get(id.0 as usize).map_or(1, |pages| (*pages as usize).max(1))
    }

    /// Pages that a job needs at its longest, its adapters included, and pages there are for it.
    pub(crate) fn needs(&self, blend: &Blend, longest: usize) -> (usize, usize) {
        let adapters: usize = blend.iter().map(|(id, _)| self.pages_of_adapter(*id)).sum();
        let pinned_own: usize = blend
            .iter()
            .filter(|(id, _)| self.memory.adapters().is_pinned(*id))
            .map(|(id, _)| self.pages_of_adapter(*id))
            .sum();
        let pinned_others = self.memory.adapters().pinned_pages().saturating_sub(pinned_own);
        let budget = self.memory.pool().budget();
        (pages_of(longest) + adapters, budget.saturating_sub(pinned_others))
    }

    /// Most pages that any sequence here may come to need.
    pub(crate) fn largest_need(&self) -> usize {
        let needs = self.sequences.values().map(|s| self.needs(s.blend(), s.longest).0);
        needs.max().unwrap_or(0)
    }

    /// Queues a sequence. `Err((needed, there))`: it would not fit even alone; pages.
    pub(crate) fn submit(&mut self, job: Job) -> Result<SequenceId, (usize, usize)> {
        assert!(!job.prompt.is_empty() && job.tokens_max > 0, "checked where requests come in");
        let sequence = Sequence::new(job);
        let (needed, there) = self.needs(sequence.blend(), sequence.longest);
        if needed > there {
            return Err((needed, there));
        }
        let id = SequenceId(self.next);
        self.next += 1;
        self.tenants.wait(&sequence.tenant, id);
        self.sequences.insert(id, sequence);
        Ok(id)
    }

    /// Ends a sequence, wherever it stands: its answer is complete, or nobody wants it any more.
    pub(crate) fn end(&mut self, id: SequenceId) {
        let Some(sequence) = self.sequences.remove(&id) else { return };
        match sequence.table {
            Some(table) => {
                self.memory.end(table);
                self.running.remove(&id);
                self.tenants.end(&sequence.tenant);
            }
            None => self.tenants.leave_queue(&sequence.tenant, id),
        }
    }

    /// The next step. Empty rows: there is nothing to compute until something arrives.
    pub(crate) fn plan(&mut self) -> Plan {
        self.memory.tick();
        let mut plan = Plan::default();
        let mut left = self.limits.step_tokens_max;
        self.plan_answers(&mut plan, &mut left);
        self.plan_prompts(&mut plan, &mut left);
        self.admit(&mut plan, &mut left);
        plan.rows.sort_by(|a, b| {
            let weights = |row: &Row| {
                let scope = &self.sequences[&row.sequence].scope;
                (scope.merged, &scope.blend)
            };
            weights(a).cmp(&weights(b)).then(a.sequence.cmp(&b.sequence))
        });
        plan
    }

    /// What the model needs to know of a row: tokens, tokens before them, pages.
    pub(crate) fn row(&self, row: &Row) -> (&[u32], usize, &[PageId], &Sequence) {
        let sequence = &self.sequences[&row.sequence];
        let table = sequence.table.as_ref().expect("what is planned runs");
        let pages = &table.pages()[..pages_of(row.tokens.end)];
        (&sequence.tokens[row.tokens.clone()], row.tokens.start, pages, sequence)
    }

    /// Notes that the model has read the rows.
    pub(crate) fn ran(&mut self, rows: &[Row]) {
        for row in rows {
            let sequence = self.sequences.get_mut(&row.sequence).expect("what was planned is here");
            sequence.computed = row.tokens.end;
            let table = sequence.table.as_mut().expect("what was planned runs");
            self.memory.filled(table, &sequence.tokens[..sequence.computed]);
            let more = sequence.computed.saturating_sub(sequence.charged);
            sequence.charged += more;
            self.tenants.charge(&sequence.tenant, more);
        }
    }

    /// The next token of an answer that goes on.
    pub(crate) fn push(&mut self, id: SequenceId, token: u32) {
        let sequence = self.sequences.get_mut(&id).expect("what was planned is here");
        sequence.tokens.push(token);
    }

    /// An adapter arrived. Returns false if there was no room for its true size: it is not kept, and
    /// will be asked for again. Second value: sequences that, with this size, can never run; they end here.
    pub(crate) fn loaded(
        &mut self,
        id: AdapterId,
        pages: usize,
        load_micros: u64,
    ) -> (bool, Vec<SequenceId>) {
        self.set_adapter_pages(id, pages);
        let kept = self.memory.finish_load(id, pages.max(1), load_micros);
        let hopeless = |(_, sequence): &(&SequenceId, &Sequence)| {
            let (needed, there) = self.needs(sequence.blend(), sequence.longest);
            sequence.table.is_none() && needed > there
        };
        let hopeless: Vec<SequenceId> =
            self.waiting_for(id).filter(hopeless).map(|(id, _)| *id).collect();
        hopeless.iter().for_each(|id| self.end(*id));
        (kept, hopeless)
    }

    /// An adapter cannot be loaded. Returns the sequences that waited for it, which end here.
    pub(crate) fn load_failed(&mut self, id: AdapterId) -> Vec<SequenceId> {
        self.memory.fail_load(id);
        let waited: Vec<SequenceId> = self.waiting_for(id).map(|(id, _)| *id).collect();
        waited.iter().for_each(|id| self.end(*id));
        waited
    }

    /// Whether a sequence, running or waiting, is of this adapter.
    pub(crate) fn wants(&self, id: AdapterId) -> bool {
        let of_it =
            |sequence: &Sequence| sequence.blend().iter().any(|(adapter, _)| *adapter == id);
        self.sequences.values().any(of_it)
    }

    fn waiting_for(&self, id: AdapterId) -> impl Iterator<Item = (&SequenceId, &Sequence)> {
        self.sequences.iter().filter(move |(_, sequence)| {
            sequence.table.is_none() && sequence.blend().iter().any(|(adapter, _)| *adapter == id)
        })
    }

    /// One token for every answer under way, oldest first.
    fn plan_answers(&mut self, plan: &mut Plan, left: &mut usize) {
        let all: Vec<SequenceId> = self.running.iter().copied().collect();
        for id in all {
            // An older one may have taken its pages in this very plan.
            if self.running.contains(&id) && self.sequences[&id].unread() == 1 {
                self.plan_row(id, plan, left, true);
            }
        }
    }

    /// Pieces of prompts that are being read, of the least served tenant first.
    fn plan_prompts(&mut self, plan: &mut Plan, left: &mut usize) {
        let unread = |id: &&SequenceId| self.sequences[id].unread() > 1;
        let mut prompts: Vec<SequenceId> = self.running.iter().filter(unread).copied().collect();
        prompts.sort_by_key(|id| (self.tenants.counter(&self.sequences[id].tenant), *id));
        for id in prompts {
            if self.running.contains(&id) {
                let oldest = self.running.first() == Some(&id);
                self.plan_row(id, plan, left, oldest);
            }
        }
    }

    /// Plans as many unread tokens of a running sequence as budget and pages allow. If there is no page
    /// at all and `may_preempt`, the youngest gives way.
    fn plan_row(&mut self, id: SequenceId, plan: &mut Plan, left: &mut usize, may_preempt: bool) {
        loop {
            let sequence = self.sequences.get_mut(&id).expect("what runs is here");
            let wish = sequence.tokens.len().min(sequence.computed + *left);
            let table = sequence.table.as_mut().expect("what runs has pages");
            let covered = self.memory.cover(table, wish);
            if covered > sequence.computed {
                let tokens = sequence.computed..covered;
                *left -= tokens.len();
                let logits_wanted = covered == sequence.tokens.len();
                plan.rows.push(Row { sequence: id, tokens, logits_wanted });
                return;
            }
            if *left == 0 || !may_preempt {
                return;
            }
            let youngest = *self.running.last().expect("this one runs");
            if let Some(at) = plan.rows.iter().position(|row| row.sequence == youngest) {
                *left += plan.rows.swap_remove(at).tokens.len();
            }
            self.preempt(youngest);
            if youngest == id {
                return;
            }
        }
    }

    fn preempt(&mut self, id: SequenceId) {
        let sequence = self.sequences.get_mut(&id).expect("what runs is here");
        self.memory.end(sequence.table.take().expect("what runs has pages"));
        sequence.computed = 0;
        self.tenants.stop(&sequence.tenant, id);
        self.running.remove(&id);
        self.preemptions += 1;
    }

    /// Looks at all that wait, the least served tenant's first: what is ready and has room is admitted,
    /// and what lacks its adapter has it loaded.
    fn admit(&mut self, plan: &mut Plan, left: &mut usize) {
        let impatient = |(_, sequence): &(&SequenceId, &Sequence)| {
            sequence.table.is_none() && sequence.passed_over > PATIENCE_PLANS
        };
        let gate = self.sequences.iter().find(impatient).map(|(id, _)| *id);
        let mut queues: BTreeSet<(u64, Arc<str>)> = BTreeSet::new();
        let mut waiting = BTreeMap::new();
        for (served, tenant, ids) in self.tenants.queues() {
            queues.insert((served, Arc::clone(&tenant)));
            waiting.insert(tenant, ids.into_iter());
        }
        while let Some((_, tenant)) = queues.pop_first() {
            let Some(id) = waiting.get_mut(&tenant).and_then(Iterator::next) else { continue };
            if gate.is_none_or(|gate| gate == id) {
                self.consider(id, plan, left);
            }
            queues.insert((self.tenants.counter(&tenant), tenant));
        }
    }

    fn consider(&mut self, id: SequenceId, plan: &mut Plan, left: &mut usize) {
        let blend = Arc::clone(self.sequences[&id].blend());
        let (mut ready, mut lacks_room) = (true, false);
        for (adapter, _) in blend.iter() {
            self.memory.touch(*adapter);
            if self.memory.presence(*adapter) == Presence::Absent
                && self.memory.adapters().loading() < self.limits.loads_max
            {
                let pages = self.pages_of_adapter(*adapter);
                match self.memory.begin_load(*adapter, pages) {
                    true => plan.loads.push(*adapter),
                    false => lacks_room = true,
                }
            }
            ready &= self.memory.presence(*adapter) == Presence::Loaded;
        }
        if ready && *left > 0 && self.running.len() < self.limits.batch_max && !self.follows(id) {
            lacks_room = !self.start(id, plan, left);
        }
        if let Some(sequence) = self.sequences.get_mut(&id).filter(|_| lacks_room) {
            sequence.passed_over += 1;
        }
    }

    /// Whether its leader is still reading the prompt that both share. A leader that waits, for the first time or
    /// again, keeps nobody: else the two could wait for each other.
    fn follows(&self, id: SequenceId) -> bool {
        let leader = self.sequences[&id].leader.and_then(|leader| self.sequences.get(&leader));
        leader.is_some_and(|leader| leader.table.is_some() && !leader.prompt_read())
    }

    /// Admits a sequence whose adapters are ready, if there is room for all it has to read and one page
    /// more for each answer under way. Returns false if not.
    fn start(&mut self, id: SequenceId, plan: &mut Plan, left: &mut usize) -> bool {
        let sequence = self.sequences.get_mut(&id).expect("what waits is here");
        let (table, cached) = self.memory.begin(&sequence.scope, &sequence.tokens);
        let more = pages_of(sequence.tokens.len()) - table.pages().len() + self.running.len();
        if more > self.memory.available() {
            self.memory.end(table);
            return false;
        }
        (sequence.table, sequence.computed, sequence.passed_over) = (Some(table), cached, 0);
        // Charged when it is admitted, so that the next place goes to somebody else.
        let read_before = sequence.charged.max(cached);
        let charge = sequence.tokens.len().saturating_sub(read_before);
        sequence.charged = sequence.charged.max(sequence.tokens.len());
        self.prompt_tokens_cached += cached as u64;
        self.tenants.run(&sequence.tenant, id);
        self.tenants.charge(&sequence.tenant, charge);
        self.running.insert(id);
        self.plan_row(id, plan, left, false);
        true
    }
}

#[cfg(test)]
mod tests;
