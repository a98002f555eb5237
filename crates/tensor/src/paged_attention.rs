//! Causal attention of new rows to keys and values in pages.
//!
//! All query heads of a key-value head, and neighbouring rows of a sequence, go through its pages together, so
//! a key is read once for all of them. Each result is one chain: scores over `dim`, probabilities times values
//! over positions, in order. In f32 pages these are the bits of [`cached_attention`](crate::cached_attention).
//!
//! **Invariant:** a row reads the pages of its own sequence up to its own position, nothing else: what an
//! earlier owner left in a page changes no bit.

use crate::AttentionRule;
use crate::ahead::prefetch;
use crate::paged_kv::{PAGE_TOKENS, PagedKv, Store, padded};
use crate::parallel::{Shared, for_each};
use crate::reduce::{exp_sum_lanes, max_lanes};
use crate::simd::{LANES, Simd, kernel};
use crate::soft_cap::cap_lanes;
use std::cell::Cell;
use std::ops::Range;

/// Queries that go through the pages together.
const TILE: usize = 4;
/// Vectors of a value that are summed at once.
const VALUE_VECTORS: usize = 4;

/// New rows of one sequence in a batch, whose keys and values are in its pages already.
#[derive(Clone, Debug)]
pub struct PagedRows<'a> {
    /// Rows of the batch; row i stands at position `before` + i − rows.start.
    pub rows: Range<usize>,
    /// Positions before the first row.
    pub before: usize,
    /// Pages of positions 0..16, 16..32, …; they cover the last row.
    pub pages: &'a [u32],
}

thread_local! {
    static SCORES: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Attention of new rows of some sequences to everything in their pages, in one layer.
///
/// Shapes: qkv [rows, heads.row()], out [rows, heads.query · heads.dim]. Panics if a page does not exist.
pub fn paged_attention(
    rule: impl Into<AttentionRule>,
    qkv: &[f32],
    kv: &PagedKv,
    layer: usize,
    sequences: &[PagedRows<'_>],
    out: &mut [f32],
) {
    let rule = rule.into();
    let heads = rule.heads;
    let width = heads.query * heads.dim;
    for s in sequences {
        assert!(s.rows.end * heads.row() <= qkv.len() && s.rows.end * width <= out.len(), "rows");
        assert!((s.before + s.rows.len()).div_ceil(PAGE_TOKENS) <= s.pages.len(), "pages");
    }
    let out = Shared::new(out);
    for_each(sequences.len() * heads.key_value, |task| {
        let (sequence, head) = (&sequences[task / heads.key_value], task % heads.key_value);
        attend(rule, qkv, kv, layer, sequence, head, &out);
    });
}

/// One key-value head of one sequence while its pages are read.
struct Reader<'a> {
    kv: &'a PagedKv,
    layer: usize,
    head: usize,
    pages: &'a [u32],
    dim: usize,
}

impl Reader<'_> {
    /// Elements from a block to that of the next head in the same page, which is read next; none from the last.
    fn next_head(&self) -> usize {
        let more = self.head + 1 < self.kv.heads();
        if more { self.kv.block_elements() } else { 0 }
    }
}

/// What a page holds: reads sixteen elements of it at once.
trait Element {
    /// Whether keys and values have scales.
    const SCALED: bool;
    /// Start of a block, and of its scales where it has any.
    fn block(kv: &PagedKv, page: u32, layer: usize, head: usize) -> (*const Self, *const f32);
    /// # Safety
    /// Sixteen elements are readable, and the call is inside a kernel of S.
    unsafe fn load<S: Simd>(p: *const Self) -> S::V;
}

impl Element for f32 {
    const SCALED: bool = false;
    fn block(kv: &PagedKv, page: u32, layer: usize, head: usize) -> (*const Self, *const f32) {
        let Store::F32(all) = kv.store() else { unreachable!("the caller looked") };
        let n = kv.block_elements();
        (all[kv.block(page, layer, head) * n..][..n].as_ptr(), std::ptr::null())
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const Self) -> S::V {
        // SAFETY: by the caller's promise.
        unsafe { S::load(p) }
    }
}

impl Element for u16 {
    const SCALED: bool = false;
    fn block(kv: &PagedKv, page: u32, layer: usize, head: usize) -> (*const Self, *const f32) {
        let Store::Bf16(all) = kv.store() else { unreachable!("the caller looked") };
        let n = kv.block_elements();
        (all[kv.block(page, layer, head) * n..][..n].as_ptr(), std::ptr::null())
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const Self) -> S::V {
        // SAFETY: by the caller's promise.
        unsafe { S::load_bf16(p) }
    }
}

impl Element for i8 {
    const SCALED: bool = true;
    fn block(kv: &PagedKv, page: u32, layer: usize, head: usize) -> (*const Self, *const f32) {
        let Store::Int8(codes, scales) = kv.store() else { unreachable!("the caller looked") };
        let (n, block) = (kv.block_elements(), kv.block(page, layer, head));
        let scales = scales[block * 2 * PAGE_TOKENS..][..2 * PAGE_TOKENS].as_ptr();
        (codes[block * n..][..n].as_ptr(), scales)
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const Self) -> S::V {
        // SAFETY: by the caller's promise.
        unsafe { S::load_i8(p) }
    }
}

kernel! {
    /// All rows of one sequence for one key-value head.
    fn attend<S>(
        rule: AttentionRule,
        qkv: &[f32],
        kv: &PagedKv,
        layer: usize,
        sequence: &PagedRows<'_>,
        head: usize,
        out: &Shared<'_>,
    ) {
        let reader = Reader { kv, layer, head, pages: sequence.pages, dim: rule.heads.dim };
        // SAFETY: inside a kernel; tasks own the rows of their sequence and the columns of their heads.
        unsafe {
            match kv.store() {
                Store::F32(_) => run::<S, f32>(rule, qkv, &reader, sequence, out),
                Store::Bf16(_) => run::<S, u16>(rule, qkv, &reader, sequence, out),
                Store::Int8(..) => run::<S, i8>(rule, qkv, &reader, sequence, out),
            }
        }
    }
}

/// # Safety
/// Inside a kernel of S; the rows of the sequence and the columns of the head's queries are the caller's.
#[inline(always)]
unsafe fn run<S: Simd, E: Element>(
    rule: AttentionRule,
    qkv: &[f32],
    reader: &Reader<'_>,
    sequence: &PagedRows<'_>,
    out: &Shared<'_>,
) {
    let heads = rule.heads;
    let (group, dim, width) = (heads.group(), heads.dim, heads.query * heads.dim);
    let queries = sequence.rows.len() * group;
    let mut scores = SCORES.take();
    let mut first = 0;
    while first < queries {
        let count = TILE.min(queries - first);
        // Query i of the tile: a row of the sequence, and one of the head's query heads in it.
        let place = |i: usize| {
            let (row, query) = ((first + i) / group, (first + i) % group);
            (sequence.rows.start + row, reader.head * group + query, sequence.before + row + 1)
        };
        let seen = place(count - 1).2.div_ceil(PAGE_TOKENS) * PAGE_TOKENS;
        // Pages that the window of every query has left behind are not read: their probability is zero.
        let window = rule.window.unwrap_or(usize::MAX);
        let from = place(0).2.saturating_sub(window) / PAGE_TOKENS * PAGE_TOKENS;
        scores.resize(count * seen, 0.0);
        let (mut queries_at, mut lens) = ([&qkv[..0]; TILE], [0; TILE]);
        for i in 0..count {
            let (row, query, len) = place(i);
            queries_at[i] = &qkv[row * heads.row() + query * dim..][..dim];
            lens[i] = len;
        }
        // SAFETY: by the caller's promise; a tile has at most TILE queries.
        unsafe {
            match count {
                1 => score::<S, E, 1, 4>(&queries_at, reader, from..seen, &mut scores),
                2 => score::<S, E, 2, 4>(&queries_at, reader, from..seen, &mut scores),
                3 => score::<S, E, 3, 2>(&queries_at, reader, from..seen, &mut scores),
                _ => score::<S, E, TILE, 2>(&queries_at, reader, from..seen, &mut scores),
            }
            for (scores, len) in scores.chunks_exact_mut(seen).zip(lens) {
                softmax::<S>(&mut scores[from..len], rule, len - from);
            }
            for column in (0..dim).step_by(VALUE_VECTORS * LANES) {
                let vectors = (dim - column).div_ceil(LANES).min(VALUE_VECTORS);
                let mut to = [std::ptr::null_mut(); TILE];
                for (i, to) in to[..count].iter_mut().enumerate() {
                    let (row, query, _) = place(i);
                    let columns = (dim - column).min(vectors * LANES);
                    *to = out.slice(row * width + query * dim + column, columns).as_mut_ptr();
                }
                macro_rules! sized {
                    ($($r:literal x $c:literal),*) => {
                        match (count, vectors) {
                            $(($r, $c) => sum::<S, E, $r, $c>(&scores, from..seen, &lens, reader, column, &to),)*
                            _ => unreachable!("{count} x {vectors}"),
                        }
                    };
                }
                sized!(1 x 1, 1 x 2, 1 x 3, 1 x 4, 2 x 1, 2 x 2, 2 x 3, 2 x 4,
                       3 x 1, 3 x 2, 3 x 3, 3 x 4, 4 x 1, 4 x 2, 4 x 3, 4 x 4);
            }
        }
        first += count;
    }
    SCORES.set(scores);
}

/// scores [R, seen] = queries · keys, P pages at a time: as many sums as hide the wait of each for its last step.
///
/// # Safety
/// Inside a kernel of S; `seen` positions have pages.
#[inline(always)]
unsafe fn score<S: Simd, E: Element, const R: usize, const P: usize>(
    queries: &[&[f32]; TILE],
    reader: &Reader<'_>,
    range: Range<usize>,
    scores: &mut [f32],
) {
    let (seen, pages) = (range.end, range.end / PAGE_TOKENS);
    let q: [*const f32; R] = std::array::from_fn(|i| queries[i].as_ptr());
    let ahead = reader.next_head();
    for first in (range.start / PAGE_TOKENS..pages).step_by(P) {
        let numbers: [usize; P] = std::array::from_fn(|i| (first + i).min(pages - 1));
        let blocks =
            numbers.map(|p| E::block(reader.kv, reader.pages[p], reader.layer, reader.head));
        // SAFETY: a block holds `dim` vectors of keys and then its scales; a query holds `dim` elements.
        unsafe {
            let mut acc = [[S::splat(0.0); P]; R];
            let mut keys_at = blocks.map(|(keys, _)| keys);
            for d in 0..reader.dim {
                let mut keys = [S::splat(0.0); P];
                for (keys, at) in keys.iter_mut().zip(&mut keys_at) {
                    prefetch(at.wrapping_add(ahead).cast());
                    *keys = E::load::<S>(*at);
                    *at = at.wrapping_add(LANES);
                }
                for (acc, q) in acc.iter_mut().zip(q) {
                    let q = S::splat(*q.wrapping_add(d));
                    for (acc, keys) in acc.iter_mut().zip(keys) {
                        *acc = S::fma(q, keys, *acc);
                    }
                }
            }
            for (i, acc) in acc.iter().enumerate() {
                for (page, (acc, (_, scales))) in numbers.into_iter().zip(acc.iter().zip(blocks)) {
                    let acc = if E::SCALED { S::mul(*acc, S::load(scales)) } else { *acc };
                    let to = &mut scores[i * seen + page * PAGE_TOKENS..][..LANES];
                    S::store(to.as_mut_ptr(), acc);
                }
            }
        }
    }
}

/// Scores to probabilities, as the exact path does it.
///
/// # Safety
/// Inside a kernel of S.
#[inline(always)]
unsafe fn softmax<S: Simd>(row: &mut [f32], rule: AttentionRule, len: usize) {
    for x in row.iter_mut() {
        *x *= rule.scale;
    }
    if let Some(cap) = rule.soft_cap {
        // SAFETY: inside a kernel.
        unsafe { cap_lanes::<S>(row, cap) };
    }
    let unseen = len.saturating_sub(rule.window.unwrap_or(usize::MAX));
    row[..unseen].fill(f32::NEG_INFINITY);
    // SAFETY: inside a kernel.
    let sum = unsafe {
        let max = max_lanes::<S>(row);
        exp_sum_lanes::<S>(row, max)
    };
    let inverse = 1.0 / sum;
    for x in row {
        *x *= inverse;
    }
}

/// C vectors of R results from one column on: Σ over a query's positions, in order, of probability · value.
///
/// # Safety
/// Inside a kernel of S; `to` holds R places for the columns that exist.
#[inline(always)]
unsafe fn sum<S: Simd, E: Element, const R: usize, const C: usize>(
    scores: &[f32],
    range: Range<usize>,
    lens: &[usize; TILE],
    reader: &Reader<'_>,
    column: usize,
    to: &[*mut f32; TILE],
) {
    let (dim, stride) = (reader.dim, padded(reader.dim));
    let (shortest, longest, seen) = (lens[0], lens[R - 1], range.end);
    let ahead = reader.next_head();
    // SAFETY: a block holds sixteen values of `stride` elements after its keys; scores hold R rows of
    // `seen`, and no length exceeds it.
    unsafe {
        let mut acc = [[S::splat(0.0); C]; R];
        for p in range.start / PAGE_TOKENS..longest.div_ceil(PAGE_TOKENS) {
            let (block, scales) = E::block(reader.kv, reader.pages[p], reader.layer, reader.head);
            let mut value = block.wrapping_add(dim * PAGE_TOKENS + column);
            let start = p * PAGE_TOKENS;
            let mut probability = scores[start..].as_ptr();
            for t in 0..PAGE_TOKENS.min(longest - start) {
                let mut v = [S::splat(0.0); C];
                for (c, v) in v.iter_mut().enumerate() {
                    let at = value.wrapping_add(c * LANES);
                    prefetch(at.wrapping_add(ahead).cast());
                    *v = E::load::<S>(at);
                }
                // Rows of a prompt end one after the other; those that ended take no more.
                let all = start + t < shortest;
                for (i, acc) in acc.iter_mut().enumerate() {
                    if all || start + t < lens[i] {
                        let mut x = *probability.wrapping_add(i.wrapping_mul(seen));
                        if E::SCALED {
                            x *= *scales.add(PAGE_TOKENS + t);
                        }
                        let x = S::splat(x);
                        for (acc, v) in acc.iter_mut().zip(v) {
                            *acc = S::fma(x, v, *acc);
                        }
                    }
                }
                value = value.wrapping_add(stride);
                probability = probability.wrapping_add(1);
            }
        }
        let columns = (dim - column).min(C * LANES);
        for (acc, to) in acc.iter().zip(to) {
            for (c, v) in acc.iter().enumerate() {
                // A zero is made positive, whatever was added to it.
                let v = S::add(*v, S::splat(0.0));
                let left = columns - c * LANES;
                let to = to.add(c * LANES);
                if left >= LANES { S::store(to, v) } else { S::store_first(to, left, v) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::four_bit::widen;
    use crate::level::on_every_path;
    use crate::paged_kv::to_bf16;
    use crate::{CachedRows, Heads, KvForm, LayerCache, Random, cached_attention};
    use proptest::prelude::*;

    /// Rows of one sequence that has read `before` positions, with all its positions' queries, keys, values.
    fn rows(heads: Heads, positions: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed, 0);
        (0..positions * heads.row()).map(|_| random.normal()).collect()
    }

    /// Pages in an order of their own, full of what an earlier owner left.
    fn used_pages(heads: Heads, form: KvForm, positions: usize, seed: u64) -> (PagedKv, Vec<u32>) {
        let count = positions.div_ceil(PAGE_TOKENS);
        let mut kv = PagedKv::new(heads, 2, form, count + 3);
        let mut order: Vec<u32> = (0..count as u32 + 3).collect();
        Random::new(seed, 5).shuffle(&mut order);
        let left = vec![f32::INFINITY; (count + 3) * PAGE_TOKENS * heads.row()];
        for layer in 0..2 {
            kv.write(heads, layer, &order, 0, &left);
        }
        order.truncate(count);
        (kv, order)
    }

    fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|x| x.to_bits()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn pages_in_f32_give_the_bits_of_a_cache_of_its_own(
            before in 0usize..70, new in 1usize..40, key_value in 1usize..3, group in 1usize..6,
            half in 1usize..40, window in prop::option::of(1usize..50), soft_cap in prop::option::of(0.5f32..5.0),
            seed in any::<u64>()
        ) {
            let heads = Heads { query: key_value * group, key_value, dim: 2 * half };
            let rule = AttentionRule { soft_cap, window, scale: 0.3, ..heads.into() };
            let all = rows(heads, before + new, seed);
            let qkv = &all[before * heads.row()..];
            let mut cache = LayerCache::new(heads, before + new);
            cache.append(heads, &all);
            let mut expected = vec![0.0; new * heads.query * heads.dim];
            cached_attention(rule, qkv, &[CachedRows { rows: 0..new, cache: &cache }], &mut expected);
            on_every_path(|level| {
                let (mut kv, pages) = used_pages(heads, KvForm::F32, before + new, seed);
                kv.write(heads, 1, &pages, 0, &all[..before * heads.row()]);
                kv.write(heads, 1, &pages, before, qkv);
                let sequence = PagedRows { rows: 0..new, before, pages: &pages };
                for threads in [1, 3] {
                    let mut out = vec![f32::NAN; expected.len()];
                    crate::with_threads(threads, || {
                        paged_attention(rule, qkv, &kv, 1, std::slice::from_ref(&sequence), &mut out);
                    });
                    assert_eq!(bits(&out), bits(&expected), "{level:?}");
                }
            });
        }

        #[test]
        fn smaller_pages_give_the_bits_of_the_rounded_keys_and_values(
            before in 0usize..40, new in 1usize..20, key_value in 1usize..3, group in 1usize..4,
            half in 1usize..20, seed in any::<u64>()
        ) {
            let heads = Heads { query: key_value * group, key_value, dim: 2 * half };
            let all = rows(heads, before + new, seed);
            let (mut rounded, mut largest) = (all.clone(), 0.0f32);
            for row in rounded.chunks_exact_mut(heads.row()) {
                for x in &mut row[heads.key_at(0)..] {
                    *x = widen(to_bf16(*x));
                    largest = largest.max(x.abs());
                }
            }
            let run = |form, all: &[f32]| {
                let mut results = Vec::new();
                on_every_path(|_| {
                    let (mut kv, pages) = used_pages(heads, form, before + new, seed);
                    kv.write(heads, 0, &pages, 0, all);
                    let mut out = vec![f32::NAN; new * heads.query * heads.dim];
                    let sequence = PagedRows { rows: 0..new, before, pages: &pages };
                    paged_attention(heads, &all[before * heads.row()..], &kv, 0, &[sequence], &mut out);
                    results.push(out);
                });
                assert!(results.iter().all(|r| bits(r) == bits(&results[0])));
                results.swap_remove(0)
            };
            let exact = run(KvForm::F32, &rounded);
            prop_assert_eq!(bits(&run(KvForm::Bf16, &all)), bits(&exact));
            // Eight bits: half a step of 1/127 in keys, which moves probabilities, and in values.
            let near = run(KvForm::Int8, &all);
            let step = largest / 127.0;
            for (near, exact) in near.iter().zip(&exact) {
                prop_assert!((near - exact).abs() <= 8.0 * step * largest.max(1.0), "{} {}", near, exact);
            }
        }
    }
}
