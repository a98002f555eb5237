//! Numbers drawn from a seed, the same everywhere.

/// splitmix64. Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".
pub(super) struct Draws(u64);

impl Draws {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// `count` indices below `count`, with repetition. Off uniform by less than 2⁻⁵⁰.
    pub(super) fn indices(&mut self, count: usize) -> Vec<usize> {
        let mut index = || ((u128::from(self.word()) * count as u128) >> 64) as usize;
        (0..count).map(|_| index()).collect()
    }
}
