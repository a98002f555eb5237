//! Keys and values of many sequences in pages of sixteen positions.
//!
//! ```text
//! page ─▶ layer ─▶ key-value head ─▶ keys [dim][16 positions] │ values [16 positions][dim, padded to 16]
//! ```
//!
//! A page holds sixteen positions of one sequence in every layer, so a sequence is a list of page numbers, and
//! two sequences with the same beginning can share its pages. Keys lie transposed: sixteen scores are one
//! chain over `dim`, without a horizontal sum.
//!
//! Memory is taken from the system up to the highest page that was asked for, and given back from any page on. The
//! addresses of all pages are taken with the first, so that what is there never moves.
//!
//! **Invariant:** what is written is a function of the key and the value alone.

use crate::Heads;
use crate::simd::LANES;

/// Positions of one page: a vector of scores.
pub const PAGE_TOKENS: usize = LANES;

/// Memory taken at once when higher pages are asked for: so much is zeroed within a step, in a millisecond or two.
const GROWTH_BYTES: usize = 4 << 20;

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KvForm {
    /// As computed.
    F32,
    /// Rounded to bf16: half the memory.
    Bf16,
    /// Eight bits with one scale for each key and each value of a head: about a quarter of the memory.
    Int8,
}

/// Pages of keys and values.
#[derive(Debug)]
pub struct PagedKv {
    key_value: usize,
    dim: usize,
    layers: usize,
    pages: usize,
    store: Store,
}

#[derive(Debug)]
pub(crate) enum Store {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
    /// Codes, and for each page, layer and head the scales of 16 keys and of 16 values.
    Int8(Vec<i8>, Vec<f32>),
}

/// Makes `all` so long, and leaves no more memory in use than that.
///
/// The addresses of the `most` elements there can ever be are taken at once, so that growing moves nothing: memory
/// comes with the first touch. Where the system does not give so many, growing copies.
fn resize<T: Copy + Default>(all: &mut Vec<T>, len: usize, most: usize) {
    if len > all.capacity() || len < all.len() {
        let mut moved = Vec::new();
        if moved.try_reserve_exact(most).is_err() {
            moved.reserve_exact(len);
        }
        moved.extend_from_slice(&all[..len.min(all.len())]);
        *all = moved;
    }
    all.resize(len, T::default());
}

/// Elements of a head's values in one position.
pub(crate) fn padded(dim: usize) -> usize {
    dim.next_multiple_of(LANES)
}

/// Elements of one head in one layer of a page.
fn head_elements(dim: usize) -> usize {
    (dim + padded(dim)) * PAGE_TOKENS
}

impl PagedKv {
    /// `pages` pages for so many layers, all zero. Takes memory as pages are asked for, see [`Self::reach`].
    pub fn new(heads: Heads, layers: usize, form: KvForm, pages: usize) -> Self {
        let store = match form {
            KvForm::F32 => Store::F32(Vec::new()),
            KvForm::Bf16 => Store::Bf16(Vec::new()),
            KvForm::Int8 => Store::Int8(Vec::new(), Vec::new()),
        };
        Self { key_value: heads.key_value, dim: heads.dim, layers, pages, store }
    }

    /// Takes memory for the first `pages` pages, zero where they were not written. Panics if there are fewer.
    pub fn reach(&mut self, pages: usize) {
        assert!(pages <= self.pages, "no such page");
        let taken = self.pages_taken();
        if pages > taken {
            let page = self.layers * self.key_value * self.block_bytes();
            let at_once = GROWTH_BYTES / page.max(1);
            self.resize(pages.max(taken.saturating_add(at_once)).min(self.pages));
        }
    }

    /// Gives the memory of all pages but the first `pages` back to the system. What they held is lost.
    pub fn give_back(&mut self, pages: usize) {
        if pages < self.pages_taken() {
            self.resize(pages);
        }
    }

    /// Pages that there is memory for.
    pub fn pages_taken(&self) -> usize {
        let elements = match &self.store {
            Store::F32(all) => all.len(),
            Store::Bf16(all) => all.len(),
            Store::Int8(codes, _) => codes.len(),
        };
        elements / (self.layers * self.key_value * self.block_elements()).max(1)
    }

    fn resize(&mut self, pages: usize) {
        let blocks = self.layers * self.key_value;
        let (elements, scales) = (blocks * self.block_elements(), blocks * 2 * PAGE_TOKENS);
        let (now, most) = (pages, self.pages);
        match &mut self.store {
            Store::F32(all) => resize(all, now * elements, most * elements),
            Store::Bf16(all) => resize(all, now * elements, most * elements),
            Store::Int8(codes, of_codes) => {
                resize(codes, now * elements, most * elements);
                resize(of_codes, now * scales, most * scales);
            }
        }
    }

    /// Bytes of one head in one layer of a page.
    fn block_bytes(&self) -> usize {
        let elements = self.block_elements();
        match self.store {
            Store::F32(_) => 4 * elements,
            Store::Bf16(_) => 2 * elements,
            Store::Int8(..) => elements + 4 * 2 * PAGE_TOKENS,
        }
    }

    /// Bytes of one page.
    pub fn page_bytes(heads: Heads, layers: usize, form: KvForm) -> usize {
        let elements = head_elements(heads.dim);
        let head = match form {
            KvForm::F32 => 4 * elements,
            KvForm::Bf16 => 2 * elements,
            KvForm::Int8 => elements + 4 * 2 * PAGE_TOKENS,
        };
        layers * heads.key_value * head
    }

    /// How keys and values are kept.
    pub fn form(&self) -> KvForm {
        match self.store {
            Store::F32(_) => KvForm::F32,
            Store::Bf16(_) => KvForm::Bf16,
            Store::Int8(..) => KvForm::Int8,
        }
    }

    /// Pages there are.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Whether it was made for these heads and so many layers.
    pub fn fits(&self, heads: Heads, layers: usize) -> bool {
        (self.key_value, self.dim, self.layers) == (heads.key_value, heads.dim, layers)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Number of a block: one head in one layer of a page. Panics if there is none.
    pub(crate) fn block(&self, page: u32, layer: usize, head: usize) -> usize {
        let page = page as usize;
        assert!(page < self.pages && layer < self.layers && head < self.key_value, "no such page");
        (page * self.layers + layer) * self.key_value + head
    }

    /// Key-value heads.
    pub(crate) fn heads(&self) -> usize {
        self.key_value
    }

    pub(crate) fn block_elements(&self) -> usize {
        head_elements(self.dim)
    }

    /// Writes the keys and values of rows [positions, heads.row()] of one layer, keys already turned. The
    /// first row stands at position `before` of the sequence whose pages these are.
    ///
    /// Panics if the pages do not reach so far or do not exist.
    pub fn write(&mut self, heads: Heads, layer: usize, pages: &[u32], before: usize, qkv: &[f32]) {
        assert!(self.fits(heads, self.layers), "heads of another model");
        let (dim, elements) = (self.dim, self.block_elements());
        let highest = pages.iter().max().map_or(0, |page| *page as usize + 1);
        self.reach(highest);
        for (position, row) in (before..).zip(qkv.chunks_exact(heads.row())) {
            let (page, slot) = (pages[position / PAGE_TOKENS], position % PAGE_TOKENS);
            for head in 0..self.key_value {
                let key = &row[heads.key_at(head)..][..dim];
                let value = &row[heads.value_at(head)..][..dim];
                let block = self.block(page, layer, head);
                let at = block * elements;
                match &mut self.store {
                    Store::F32(all) => put(&mut all[at..][..elements], slot, key, value, |x| x),
                    Store::Bf16(all) => put(&mut all[at..][..elements], slot, key, value, to_bf16),
                    Store::Int8(codes, scales) => {
                        let scales = &mut scales[block * 2 * PAGE_TOKENS..][..2 * PAGE_TOKENS];
                        let [key_scale, value_scale] = [key, value].map(scale_of);
                        scales[slot] = key_scale;
                        scales[PAGE_TOKENS + slot] = value_scale;
                        let to = &mut codes[at..][..elements];
                        put_keys(to, slot, key, |x| code(x, key_scale));
                        put_values(to, slot, dim, value, |x| code(x, value_scale));
                    }
                }
            }
        }
    }
}

fn put<T>(block: &mut [T], slot: usize, key: &[f32], value: &[f32], f: impl Fn(f32) -> T + Copy) {
    put_keys(block, slot, key, f);
    put_values(block, slot, key.len(), value, f);
}

fn put_keys<T>(block: &mut [T], slot: usize, key: &[f32], f: impl Fn(f32) -> T) {
    for (to, x) in block.chunks_exact_mut(PAGE_TOKENS).zip(key) {
        to[slot] = f(*x);
    }
}

fn put_values<T>(block: &mut [T], slot: usize, dim: usize, value: &[f32], f: impl Fn(f32) -> T) {
    let to = &mut block[dim * PAGE_TOKENS + slot * padded(dim)..];
    for (to, x) in to.iter_mut().zip(value) {
        *to = f(*x);
    }
}

/// The scale that makes the largest magnitude 127.
fn scale_of(x: &[f32]) -> f32 {
    x.iter().fold(0.0f32, |a, b| a.max(b.abs())) / 127.0
}

fn code(x: f32, scale: f32) -> i8 {
    if scale > 0.0 { (x / scale).round_ties_even() as i8 } else { 0 }
}

/// f32 to bf16, nearest, ties to even; NaN stays NaN.
pub(crate) fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return ((bits >> 16) as u16) | 0x40;
    }
    (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::four_bit::widen;

    #[test]
    fn a_page_takes_what_it_says() {
        let heads = Heads { query: 4, key_value: 2, dim: 6 };
        for form in [KvForm::F32, KvForm::Bf16, KvForm::Int8] {
            let mut kv = PagedKv::new(heads, 3, form, 5);
            kv.reach(5);
            let bytes = match kv.store() {
                Store::F32(all) => 4 * all.len(),
                Store::Bf16(all) => 2 * all.len(),
                Store::Int8(codes, scales) => codes.len() + 4 * scales.len(),
            };
            assert_eq!(bytes, 5 * PagedKv::page_bytes(heads, 3, form), "{form:?}");
            assert_eq!((kv.form(), kv.pages()), (form, 5));
        }
    }

    /// Memory of this process in bytes.
    #[cfg(target_os = "linux")]
    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
        pages.expect("two numbers") * 4096
    }

    #[test]
    #[cfg(target_os = "linux")]
    #[cfg_attr(miri, ignore = "reads the size of the process")]
    fn memory_is_taken_as_pages_are_asked_for_and_given_back() {
        let heads = Heads { query: 4, key_value: 4, dim: 64 };
        for form in [KvForm::F32, KvForm::Bf16, KvForm::Int8] {
            let pages = (64 << 20) / PagedKv::page_bytes(heads, 4, form);
            let row = vec![1.0; heads.row()];
            let mut kv = PagedKv::new(heads, 4, form, pages);
            assert_eq!(kv.pages_taken(), 0);
            kv.write(heads, 0, &[1], 0, &row);
            assert!((2..pages / 4).contains(&kv.pages_taken()));
            let before = resident();
            let address = |kv: &PagedKv| match kv.store() {
                Store::F32(all) => all.as_ptr().addr(),
                Store::Bf16(all) => all.as_ptr().addr(),
                Store::Int8(codes, _) => codes.as_ptr().addr(),
            };
            let at_first = address(&kv);
            kv.write(heads, 0, &[pages as u32 - 1], 0, &row);
            assert_eq!(kv.pages_taken(), pages);
            assert_eq!(address(&kv), at_first, "growing moved what was there");
            assert!(resident() > before + (32 << 20), "{form:?}");
            kv.give_back(2);
            assert_eq!(kv.pages_taken(), 2);
            assert!(resident() < before + (16 << 20), "{form:?}");
            // What was kept is still there, what comes again is zero.
            let block = |kv: &PagedKv, page| {
                let at = kv.block(page, 0, 0) * kv.block_elements();
                match kv.store() {
                    Store::F32(all) => all[at] != 0.0,
                    Store::Bf16(all) => all[at] != 0,
                    Store::Int8(codes, _) => codes[at] != 0,
                }
            };
            kv.reach(pages);
            assert!(block(&kv, 1) && !block(&kv, pages as u32 - 1), "{form:?}");
        }
    }

    #[test]
    fn bf16_is_the_nearest_with_ties_to_even() {
        for x in [0.0, -1.5, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, 3.0e38] {
            let y = widen(to_bf16(x));
            for other in [to_bf16(x).wrapping_add(1), to_bf16(x).wrapping_sub(1)] {
                let other = widen(other);
                assert!(
                    !other.is_finite() || (x - y).abs() <= (x - other).abs(),
                    "{x} {y} {other}"
                );
            }
        }
        assert!(widen(to_bf16(f32::NAN)).is_nan());
        assert_eq!(widen(to_bf16(1.0 + 1.0 / 256.0)), 1.0);
    }
}
