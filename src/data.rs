//! What records, keys and values must be.

use std::cmp::Ordering;
use std::hash::Hash;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A record of a stream: it can be cloned, sent to another thread and kept.
///
/// Implemented for every type that qualifies.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a record of a stream",
    label = "not `Clone + Send + Sync + 'static`",
    note = "records are shared between the threads of the pool: derive `Clone`, own the data (`String`, not `&str`) and use `Arc` instead of `Rc`"
)]
pub trait Data: Clone + Send + Sync + 'static {}
impl<T: Clone + Send + Sync + 'static> Data for T {}

/// A record that crosses a shuffle or enters state: [`Data`] that serde can write and read.
///
/// It owns what it consists of, since what is read has nothing to borrow from. Of a `&'static str` the compiler says
/// "implementation of `Deserialize` is not general enough": make it a `String` first.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross a shuffle",
    label = "not `Data` with serde's `Serialize` and `Deserialize`",
    note = "add `#[derive(Clone, serde::Serialize, serde::Deserialize)]` to the type, or map it to a type that has them before the keyed operator"
)]
pub trait Exchange: Data + Serialize + DeserializeOwned {}
impl<T: Data + Serialize + DeserializeOwned> Exchange for T {}

/// A key: [`Exchange`] with `Eq` and `Hash`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    label = "not `Exchange + Eq + Hash`",
    note = "add `#[derive(Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]` to the type; floats are no keys, use their bits or an integer"
)]
pub trait Key: Exchange + Eq + Hash {}
impl<T: Exchange + Eq + Hash> Key for T {}

/// What has an order to sort by: `Ord`.
///
/// Implemented for every type that qualifies. A float does not: [`TotalOrder`] gives it one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no order to sort by",
    label = "not `Ord`",
    note = "add `#[derive(PartialEq, Eq, PartialOrd, Ord)]` to the type, or order by something else (`sort_by`, `top_by`, `max_by`)",
    note = "a float has an order as `tidemill::TotalOrder(float)`"
)]
pub trait Ordered: Ord {}
impl<T: Ord + ?Sized> Ordered for T {}

/// Into how many partitions an operation with a shuffle goes, for the forms of it that end in `_with`.
///
/// From 1 to 4096; another number is a mistake that the operation reports.
///
/// # Examples
///
/// ```
/// use tidemill::{Partitions, testing::run};
///
/// let visits = [vec![(7, 1), (7, 1)], vec![(8, 1)]];
/// let counts = run(visits, |pairs| pairs.reduce_by_key_with(|a, b| a + b, Partitions::new(3)))?;
/// assert_eq!(counts, [vec![(7, 2)], vec![(8, 1)]]);
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Partitions(usize);

impl Partitions {
    /// This many partitions.
    pub const fn new(partitions: usize) -> Self {
        Partitions(partitions)
    }

    /// The number.
    pub const fn get(self) -> usize {
        self.0
    }

    /// What is wrong with the number, if it cannot be used.
    pub(crate) fn mistake(self) -> Option<String> {
        let Partitions(partitions) = self;
        let wrong = !(1..=KEY_GROUPS).contains(&partitions);
        wrong.then(|| format!("{partitions} partitions: there can be 1 to {KEY_GROUPS}"))
    }
}

/// A float in the order of [`f64::total_cmp`], for whatever asks for an order: `sort_by`, `top_by`, `max_by`.
///
/// Numbers come in their order, `-0.0` before `0.0`; NaN comes at the end, or, with a sign, at the start.
///
/// # Examples
///
/// ```
/// use tidemill::TotalOrder;
///
/// let highest = [7.1, 9.9, 1.2].into_iter().map(TotalOrder).max();
/// assert_eq!(highest, Some(TotalOrder(9.9)));
/// ```
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct TotalOrder(pub f64);

impl Ord for TotalOrder {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for TotalOrder {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for TotalOrder {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for TotalOrder {}

/// How many groups the keys of a stream fall into. Groups map to partitions; a partition never has less than one, so
/// this bounds the partitions of a shuffle.
pub(crate) const KEY_GROUPS: usize = 1 << 12;

/// The hash of a key: the same in every task of a run, computed once and kept beside the key.
///
/// It never leaves the process: what is kept on disk is sorted by key group and hashed anew when it is read.
pub(crate) fn hash_key<Q: Hash + ?Sized>(key: &Q) -> u64 {
    const SEEDS: ahash::RandomState = ahash::RandomState::with_seeds(
        0x243f_6a88_85a3_08d3,
        0x1319_8a2e_0370_7344,
        0xa409_3822_299f_31d0,
        0x082e_fa98_ec4e_6c89,
    );
    SEEDS.hash_one(key)
}

/// The part of `0..parts` that a key of this hash belongs to.
///
/// Takes bits that a hash table of these keys uses neither for its slots (the low ones) nor for its tags (the top
/// seven), so that the keys of one part still spread over a table. `parts` may be refined by a factor: the part of a
/// key among `m * n` divided by `m` is its part among `n`.
pub(crate) fn part_of(hash: u64, parts: usize) -> usize {
    let group = (hash >> 45) as usize & (KEY_GROUPS - 1);
    group * parts / KEY_GROUPS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_refine_and_are_all_used() {
        for parts in [1, 2, 3, 5, 7, 64, 100] {
            let mut seen = vec![false; parts];
            for key in 0..20_000u64 {
                let hash = hash_key(&key);
                let part = part_of(hash, parts);
                seen[part] = true;
                assert_eq!(part_of(hash, parts * 6) / 6, part, "key {key} in {parts} parts");
            }
            assert!(seen.iter().all(|seen| *seen), "{parts} parts");
        }
    }

    #[test]
    fn a_borrowed_key_has_the_hash_of_the_owned_one() {
        assert_eq!(hash_key("tide"), hash_key(&String::from("tide")));
    }
}
