//! Records from a fixed seed: every run and every machine works on the same ones.

/// The finalizer of SplitMix64: scrambles a number, one to one.
pub fn scramble(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        let number = scramble(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        number
    }

    /// A number in `[0, 1)`.
    pub fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number in `0..below`.
    pub fn below(&mut self, below: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(below)) >> 64) as u64
    }

    /// A rank in `0..ranks` by Zipf's law with exponent 1: rank `r` is drawn in proportion to `1 / (r + 1)`, as the
    /// inverse of `ln(r + 1) / ln(ranks + 1)` has it.
    pub fn zipf(&mut self, ranks: u64) -> u64 {
        let rank = ((ranks + 1) as f64).powf(self.fraction()) as u64;
        rank.clamp(1, ranks) - 1
    }
}

/// Pairs whose keys follow Zipf's law over `keys` keys, each made of its rank; the value is small.
pub fn zipf_pairs<K>(records: usize, keys: u64, seed: u64, key: impl Fn(u64) -> K) -> Vec<(K, u64)> {
    let mut random = Random::new(seed);
    (0..records).map(|_| (key(random.zipf(keys)), random.below(100))).collect()
}

/// Pairs whose keys are equally likely.
pub fn uniform_pairs(records: usize, keys: u64, seed: u64) -> Vec<(u64, u64)> {
    let mut random = Random::new(seed);
    (0..records).map(|_| (scramble(random.below(keys)), random.below(100))).collect()
}

/// The word of a rank: 5 to 12 letters.
pub fn word(rank: u64) -> String {
    let letters = scramble(rank);
    let length = 5 + (scramble(letters) % 8) as u32;
    (0..length).map(|place| char::from(b'a' + (letters / 26u64.pow(place) % 26) as u8)).collect()
}

/// Lines of ten words out of 100,000, which follow Zipf's law.
pub fn lines(lines: usize, seed: u64) -> Vec<String> {
    let words: Vec<String> = (0..100_000).map(word).collect();
    let mut random = Random::new(seed);
    let mut line = || (0..10).map(|_| &*words[random.zipf(100_000) as usize]).collect::<Vec<_>>().join(" ");
    (0..lines).map(|_| line()).collect()
}

/// Cuts records into parts of equal size, in order.
pub fn parts<T: Clone>(records: &[T], parts: usize) -> Vec<Vec<T>> {
    records.chunks(records.len().div_ceil(parts).max(1)).map(<[T]>::to_vec).collect()
}
