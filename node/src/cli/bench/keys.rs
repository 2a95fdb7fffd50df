//! Which document a step is about: equally likely ones, or popular ones more often.

use rand::Rng;

/// YCSB's constant: about a fifth of the documents get four fifths of the steps.
const THETA: f64 = 0.99;

/// The `_id` of record `number`: 32 hex characters that say nothing about the order of the numbers, as generated
/// ids would.
pub(super) fn key(number: u64) -> String {
    let low = mix(number);
    format!("{:016x}{low:016x}", mix(low ^ number))
}

/// The finaliser of splitmix64: a permutation of the 64-bit numbers that looks random.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Chooses record numbers below a count.
#[derive(Debug)]
pub(super) enum Chooser {
    /// Each equally likely.
    Uniform(u64),
    /// Zipfian, with the popular ones scattered over all numbers.
    Zipfian(Zipfian),
}

impl Chooser {
    pub(super) fn choose(&self, rng: &mut impl Rng) -> u64 {
        match self {
            Self::Uniform(count) => rng.random_range(0..*count),
            Self::Zipfian(zipfian) => mix(zipfian.rank(rng)) % zipfian.count,
        }
    }
}

/// Ranks by popularity, after Gray et al., "Quickly generating billion-record synthetic databases": constant time
/// each, after one pass over the count.
#[derive(Debug)]
pub(super) struct Zipfian {
    count: u64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipfian {
    pub(super) fn new(count: u64) -> Self {
        let count = count.max(2);
        let zeta = |n: u64| (1..=n).map(|i| (i as f64).powf(-THETA)).sum::<f64>();
        let (all, two) = (zeta(count), zeta(2));
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - THETA)) / (1.0 - two / all);
        Self {
            count,
            zeta: all,
            alpha: 1.0 / (1.0 - THETA),
            eta,
        }
    }

    /// A rank: 0 is the most popular.
    pub(super) fn rank(&self, rng: &mut impl Rng) -> u64 {
        let u: f64 = rng.random();
        let scaled = u * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(THETA) {
            return 1;
        }
        let rank = self.count as f64 * (self.eta * u - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.count - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn keys_are_distinct_and_have_the_form_of_ids() {
        let keys: HashSet<String> = (0..10_000).map(key).collect();
        assert_eq!(keys.len(), 10_000);
        assert!(keys.iter().all(|key| key.len() == 32));
    }

    #[test]
    fn ranks_follow_the_zipfian_law() {
        let zipfian = Zipfian::new(1000);
        let mut rng = StdRng::seed_from_u64(7);
        let draws = 200_000;
        let mut counts: HashMap<u64, u32> = HashMap::new();
        for _ in 0..draws {
            *counts.entry(zipfian.rank(&mut rng)).or_default() += 1;
        }
        assert!(counts.keys().all(|rank| *rank < 1000));
        let share =
            |rank: u64| f64::from(counts.get(&rank).copied().unwrap_or(0)) / f64::from(draws);
        let expected = |rank: u64| ((rank + 1) as f64).powf(-THETA) / zipfian.zeta;
        for rank in [0, 1, 9] {
            let ratio = share(rank) / expected(rank);
            assert!((0.8..1.25).contains(&ratio), "rank {rank}: {ratio}");
        }
        let popular: f64 = (0..200).map(share).sum();
        assert!(
            (0.7..0.85).contains(&popular),
            "a fifth of the records got {popular}"
        );
    }

    #[test]
    fn choices_stay_below_the_count_also_when_it_is_tiny() {
        let mut rng = StdRng::seed_from_u64(1);
        for count in [1_u64, 2, 3] {
            let zipfian = Zipfian::new(count);
            let bound = count.max(2);
            assert!((0..1000).all(|_| zipfian.rank(&mut rng) < bound));
            assert!((0..1000).all(|_| Chooser::Uniform(count).choose(&mut rng) < count));
        }
    }
}
