//! Memory that will be needed soon, brought nearer while something else is computed.

/// Bytes of a cache line.
const LINE: usize = 64;

/// Memory that is needed soon. A product walks along it, some lines in each of its tiles.
#[derive(Clone, Debug, Default)]
pub struct Ahead<'a> {
    slices: &'a [&'a [u8]],
    /// Lines before the first of `slices` that are not ours, and lines that are.
    skip: usize,
    left: usize,
    /// Lines to bring after each tile.
    pace: usize,
}

impl<'a> Ahead<'a> {
    /// All lines of some slices.
    pub fn new(slices: &'a [&'a [u8]]) -> Self {
        Self { slices, skip: 0, left: slices.iter().map(|s| lines(s)).sum(), pace: 0 }
    }

    /// Part i of n.
    pub(crate) fn part(&self, i: usize, n: usize) -> Self {
        let (from, to) = (self.left * i / n, self.left * (i + 1) / n);
        let mut part = Self { left: to - from, skip: self.skip + from, ..*self };
        while let Some(first) = part.slices.first()
            && lines(first) <= part.skip
        {
            part.skip -= lines(first);
            part.slices = &part.slices[1..];
        }
        part
    }

    /// Spreads the rest over so many tiles.
    pub(crate) fn spread(&mut self, tiles: usize) {
        self.pace = self.left.div_ceil(tiles.max(1));
    }

    /// The next tile's lines as far as they lie in one slice, for a loop of so many steps; then comes
    /// [`finish`](Self::finish).
    #[inline(always)]
    pub(crate) fn walk(&self, steps: usize) -> Walk {
        let Some(first) = self.slices.first() else { return Walk::nowhere() };
        let here = lines(first).saturating_sub(self.skip).min(self.pace).min(self.left);
        let at = first.as_ptr().wrapping_add(self.skip.wrapping_mul(LINE));
        Walk { at, step: (here * LINE).div_ceil(steps.max(1)).min(LINE) }
    }

    /// Goes on to where the next tile begins: what the last one did not ask for is asked for now.
    #[inline(never)]
    pub(crate) fn finish(&mut self, walk: Walk) {
        let Some(first) = self.slices.first() else { return };
        let at = (walk.at as usize).wrapping_sub(first.as_ptr() as usize);
        let here = lines(first).min(self.skip + self.left);
        let asked = at.div_ceil(LINE).min(here).saturating_sub(self.skip);
        (self.skip, self.left) = (self.skip + asked, self.left - asked);
        let pace = self.pace;
        self.pace = pace.saturating_sub(asked);
        self.advance();
        self.pace = pace;
    }

    /// Brings the next lines nearer.
    #[inline(always)]
    pub(crate) fn advance(&mut self) {
        if self.left == 0 {
            return;
        }
        let mut now = self.pace.min(self.left);
        self.left -= now;
        while now > 0 {
            let Some(first) = self.slices.first() else { return };
            let here = lines(first).saturating_sub(self.skip).min(now);
            for line in self.skip..self.skip + here {
                prefetch(first.as_ptr().wrapping_add(line.wrapping_mul(LINE)));
            }
            now -= here;
            self.skip += here;
            if self.skip >= lines(first) {
                self.skip = 0;
                self.slices = &self.slices[1..];
            }
        }
    }
}

/// Where a walk stands that has nothing to bring.
static NOTHING: [u8; LINE] = [0; LINE];

/// The lines that one tile asks for, spread evenly over its loop: the core waits when more are under way than it
/// has buffers for. They lie within one slice, so that nothing in the loop branches or can fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    at: *const u8,
    /// Bytes, at most a line.
    step: usize,
}

impl Walk {
    /// A walk that brings nothing.
    pub(crate) fn nowhere() -> Self {
        // An address without memory would be looked up in vain, again and again.
        Self { at: NOTHING.as_ptr(), step: 0 }
    }

    /// Where it stands after so many steps.
    pub(crate) fn after(self, steps: usize) -> Self {
        Self { at: self.at.wrapping_add(self.step.wrapping_mul(steps)), ..self }
    }

    /// Asks for the line at which it stands.
    #[inline(always)]
    pub(crate) fn advance(&mut self) {
        prefetch(self.at);
        self.at = self.at.wrapping_add(self.step);
    }
}

/// Values that are nothing but bytes.
///
/// # Safety
/// The type has no padding.
pub(crate) unsafe trait Plain: Copy {}

/// The bytes of some values.
pub(crate) fn bytes_of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: without padding, all bytes are initialised.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// Cache lines that a slice covers, if it begins at one.
fn lines(slice: &[u8]) -> usize {
    slice.len().div_ceil(LINE)
}

/// Asks for a line, into the second cache, from where the kernels stream it.
#[inline(always)]
pub(crate) fn prefetch(p: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_paces_cover_every_line_once() {
        let memory = vec![0u8; 10_000];
        let slices: Vec<&[u8]> = vec![&memory[..1], &[], &memory[64..64 * 9], &memory[640..10_000]];
        let whole = Ahead::new(&slices);
        let total: usize = slices.iter().map(|s| lines(s)).sum();
        for n in 1..9 {
            let mut covered = 0;
            for i in 0..n {
                let mut part = whole.part(i, n);
                covered += part.left;
                part.spread(3);
                for steps in [0, 4, 1000] {
                    let mut walk = part.walk(steps);
                    for _ in 0..steps {
                        walk.advance();
                    }
                    part.finish(walk);
                }
                assert_eq!(part.left, 0);
            }
            assert_eq!(covered, total);
        }
    }
}
