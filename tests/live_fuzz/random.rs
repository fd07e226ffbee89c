//! Pseudo-random numbers that depend on the seed and the number of the case only.

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64, case: u64) -> Random {
        // SplitMix64, so that neighbouring cases have nothing in common.
        let mut mixed = seed.wrapping_add(case.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Random((mixed ^ (mixed >> 31)) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 11) % bound.max(1) as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// A length from 1 to `most`, small ones more often.
    pub fn length(&mut self, most: usize) -> usize {
        let bits = usize::BITS - most.leading_zeros();
        (1 << self.below(bits as usize)).min(most).max(1) + self.below(16).min(most / 2)
    }
}
