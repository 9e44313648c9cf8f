//! Random numbers that are the same whenever they are drawn again, also after an update of this crate's dependencies.

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub(super) struct Random(u64);

impl Random {
    /// The numbers that one partition draws for a seed.
    pub(super) fn of(seed: u64, partition: usize) -> Self {
        Random(Random(seed).next().wrapping_add(Random(!(partition as u64)).next()))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From 0 to below `n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// How often something happens that happens `mean` times on average.
    pub(super) fn poisson(&mut self, mut mean: f64) -> u64 {
        // Knuth's way multiplies up to `exp(-mean)`, which has to stay a number: large means are taken in steps.
        const STEP: f64 = 16.0;
        let mut count = 0;
        while mean > 0.0 {
            let limit = (-mean.min(STEP)).exp();
            let mut product = self.unit();
            while product > limit {
                count += 1;
                product *= self.unit();
            }
            mean -= STEP;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn draws_have_their_means_and_repeat() {
        const DRAWS: usize = 20_000;
        let mean = |draw: &dyn Fn(&mut Random) -> f64| {
            let mut random = Random::of(7, 3);
            (0..DRAWS).map(|_| draw(&mut random)).sum::<f64>() / DRAWS as f64
        };
        for (expected, deviation, found) in [
            (0.5, 0.29, mean(&|random| random.unit())),
            (4.5, 2.9, mean(&|random| random.below(10) as f64)),
            (0.3, 0.55, mean(&|random| random.poisson(0.3) as f64)),
            (100.0, 10.0, mean(&|random| random.poisson(100.0) as f64)),
        ] {
            assert!((found - expected).abs() < 4.0 * deviation / (DRAWS as f64).sqrt(), "{expected}: {found}");
        }
        let draws = |seed, partition| Random::of(seed, partition).next();
        assert_eq!(draws(1, 2), draws(1, 2));
        assert_ne!(draws(1, 2), draws(2, 1));
        assert_eq!(Random::of(0, 0).poisson(0.0), 0);
    }

    /// Samples of a program may not change with an update.
    #[test]
    fn the_numbers_are_those_of_splitmix() {
        let mut random = Random(1_234_567);
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }
}
