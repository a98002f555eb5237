//! Random numbers that depend on a seed, a stream and a counter, and on nothing else.

/// A stream of random numbers: SplitMix64 (Steele, Lea, Flood 2014) from a mixed (seed, stream).
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// Stream `stream` of `seed`. Different streams are independent.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut start = Self { state: seed };
        let mixed = start.next() ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03);
        let mut random = Self { state: mixed };
        random.next();
        random
    }

    /// Next 64 bits.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0..n, n > 0. The bias of the multiplication is below n / 2⁶⁴.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// Uniform in [0, 1), a multiple of 2⁻²⁴.
    pub fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 * (1.0 / 16_777_216.0)
    }

    /// About normal with mean 0 and deviation 1: the sum of four 16-bit uniforms (Irwin–Hall), which
    /// is exact arithmetic, unlike a transform through logarithms.
    pub fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum: i64 = (0..4).map(|i| ((bits >> (16 * i)) & 0xffff) as i64).sum();
        // Mean 2 · 65535; variance of one 16-bit uniform 65536²/12, of four 65536²/3.
        (sum - 131_070) as f32 * (1.732_050_8 / 65_536.0)
    }

    /// Shuffles in place (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}
