//! Adapters on the device: copied when they are first used, kept under a budget.
//!
//! **Invariant:** adapters of the step that runs are never dropped; of the others the one unused longest goes first.

use crate::Error;
use crate::backend::{Backend, Buffer, Scratch};
use openledger_model::serving::{BlendRows, ServingAdapter};
use std::collections::HashMap;
use std::sync::Arc;

/// Words of 64 bits of a group's entry in an adapter's directory: `low_rank_group` in `low_rank.cu`.
const GROUP_WORDS: usize = 11;
/// Sites of a group at most.
const SITES_MAX: usize = 3;

#[derive(Debug)]
struct OnDevice {
    /// The packed matrices and behind them the directory.
    memory: Buffer,
    directory: u64,
    width_max: usize,
    used: u64,
}

/// The adapters that are on the device.
#[derive(Debug)]
pub(crate) struct AdapterCache {
    backend: Arc<dyn Backend>,
    adapters: HashMap<[u8; 32], OnDevice>,
    budget: usize,
    bytes: usize,
    step: u64,
}

impl AdapterCache {
    /// With room for `budget` bytes.
    pub(crate) fn new(backend: Arc<dyn Backend>, budget: usize) -> Self {
        Self { backend, adapters: HashMap::new(), budget, bytes: 0, step: 0 }
    }

    /// Bytes of the adapters that are there.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sees to it that the adapters of a step are there.
    ///
    /// Errors: [`Error::Model`] for an adapter in eight bits, or if those of one step exceed the budget.
    pub(crate) fn prepare(&mut self, blends: &[BlendRows<'_>]) -> Result<(), Error> {
        self.step += 1;
        let wanted: Vec<&Arc<ServingAdapter>> = blends
            .iter()
            .flat_map(|blend| blend.adapters.iter().map(|(adapter, _)| adapter))
            .collect();
        // Those that are there first, so that none of them is dropped for another.
        for adapter in &wanted {
            if let Some(there) = self.adapters.get_mut(&adapter.hash()) {
                there.used = self.step;
            }
        }
        for adapter in wanted {
            if !self.adapters.contains_key(&adapter.hash()) {
                self.add(adapter)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, adapter: &ServingAdapter) -> Result<(), Error> {
        let (content, groups) = content(adapter)?;
        let bytes = content.len() + groups.len() * GROUP_WORDS * 8;
        while self.bytes + bytes > self.budget {
            self.drop_oldest(bytes)?;
        }
        let memory = Buffer::new(&self.backend, bytes)?;
        memory.write(0, &content)?;
        let mut words = Vec::with_capacity(groups.len() * GROUP_WORDS);
        let mut width_max = 0;
        for group in &groups {
            words.extend(group.words(memory.address()));
            width_max = width_max.max(group.width);
        }
        memory.write(content.len() / 8, &words)?;
        let directory = memory.address() + content.len() as u64;
        self.bytes += bytes;
        let entry = OnDevice { memory, directory, width_max, used: self.step };
        self.adapters.insert(adapter.hash(), entry);
        Ok(())
    }

    fn drop_oldest(&mut self, wanted: usize) -> Result<(), Error> {
        let idle = self.adapters.iter().filter(|(_, a)| a.used != self.step);
        let Some(hash) = idle.min_by_key(|(hash, a)| (a.used, **hash)).map(|(hash, _)| *hash)
        else {
            return Err(openledger_model::Error::Request(format!(
                "the adapters of one step take {} bytes on the device, which has {} for them; give it more memory or \
                 serve fewer at once",
                self.bytes + wanted,
                self.budget
            ))
            .into());
        };
        if let Some(old) = self.adapters.remove(&hash) {
            self.bytes -= old.memory.bytes();
        }
        Ok(())
    }
}

/// One group of one layer in an adapter's bytes.
#[derive(Debug, Default)]
struct Group {
    a: usize,
    width: usize,
    /// Where B begins, rank, first output, outputs, scale.
    sites: Vec<(usize, usize, usize, usize, f32)>,
}

impl Group {
    fn words(&self, base: u64) -> [u64; GROUP_WORDS] {
        let pair = |low: usize, high: u32| low as u64 | u64::from(high) << 32;
        let mut words = [0; GROUP_WORDS];
        words[0] = base + self.a as u64;
        words[1] = pair(self.width, self.sites.len() as u32);
        for (to, (b, rank, offset, outputs, scale)) in
            words[2..].chunks_exact_mut(3).zip(&self.sites)
        {
            to[0] = base + *b as u64;
            to[1] = pair(*rank, *offset as u32);
            to[2] = pair(*outputs, scale.to_bits());
        }
        words
    }
}

/// All matrices one after the other, each group at a multiple of 64 bytes, and where the groups are.
fn content(adapter: &ServingAdapter) -> Result<(Vec<u8>, Vec<Group>), Error> {
    let (mut content, mut groups) = (Vec::with_capacity(adapter.bytes()), Vec::new());
    for (shape, bytes) in adapter.layers().flatten() {
        let Some(places) = shape.bf16_places() else {
            return Err(openledger_model::Error::Adapter(
                "it is packed in eight bits, which no device kernel reads; serve with --adapter-form bf16, or pack it \
                 again in bf16"
                    .into(),
            )
            .into());
        };
        content.resize(content.len().next_multiple_of(64), 0);
        let at = content.len();
        content.extend_from_slice(bytes);
        let sites: Vec<_> =
            places.map(|(s, b)| (at + b, s.rank, s.offset, s.outputs, s.scale)).collect();
        assert!(sites.len() <= SITES_MAX, "three linear layers share an input at most");
        groups.push(Group { a: at, width: sites.iter().map(|s| s.1).sum(), sites });
    }
    content.resize(content.len().next_multiple_of(64), 0);
    Ok((content, groups))
}

/// The rows of a step that have adapters, each with each of its adapters.
#[derive(Debug)]
pub(crate) struct Pairs {
    /// `low_rank_pair` in `low_rank.cu`.
    pub(crate) list: Scratch,
    /// For each row that has pairs the first of them, and the number of all.
    pub(crate) first: Scratch,
    pub(crate) count: usize,
    pub(crate) rows: usize,
    /// The row after the last that has pairs.
    pub(crate) row_end: usize,
    /// Elements of x · A that a pair needs at most.
    pub(crate) width_max: usize,
}

impl Pairs {
    pub(crate) fn new(backend: &Arc<dyn Backend>) -> Result<Self, Error> {
        let (list, first) = (Scratch::new(backend)?, Scratch::new(backend)?);
        Ok(Self { list, first, count: 0, rows: 0, row_end: 0, width_max: 0 })
    }

    /// Lays out blends whose adapters were prepared.
    pub(crate) fn set(
        &mut self,
        blends: &[BlendRows<'_>],
        cache: &AdapterCache,
    ) -> Result<(), Error> {
        let (mut list, mut first) = (Vec::<u64>::new(), Vec::<u32>::new());
        (self.rows, self.row_end, self.width_max) = (0, 0, 0);
        for blend in blends {
            for row in blend.rows.clone() {
                first.push((list.len() / 2) as u32);
                for (adapter, weight) in blend.adapters {
                    let there = &cache.adapters[&adapter.hash()];
                    list.extend([there.directory, row as u64 | u64::from(weight.to_bits()) << 32]);
                    self.width_max = self.width_max.max(there.width_max);
                }
                self.rows += 1;
                self.row_end = row + 1;
            }
        }
        self.count = list.len() / 2;
        if self.count == 0 {
            // Nothing will read the lists, and a copy to the device waits for what runs on it.
            return Ok(());
        }
        first.push(self.count as u32);
        self.list.fill(&list)?;
        self.first.fill(&first)?;
        Ok(())
    }
}
