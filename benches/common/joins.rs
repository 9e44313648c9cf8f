//! Facts joined with a table of dimensions, whose keys come once. By hand: both sides are scattered to the partition of
//! their key, if they do not lie there already; then a thread a partition puts the dimensions into a table and looks
//! each fact up.

use std::hash::Hash;
use std::sync::Arc;

use ahash::{AHashMap, RandomState};
use rayon::prelude::*;
use tidemill::{Key, Partitions, StreamingContext};

use super::data::{Random, parts, scramble, word};
use super::{Case, MakeCase, Size, side};

pub const CASES: &[MakeCase] = &[
    |size| case("join, u64 keys, placed", Some(1.0), size, scramble, true),
    |size| case("join, u64 keys", Some(1.0), size, scramble, false),
    |size| case("join, String keys, placed", Some(1.0), size, word_of, true),
    |size| case("join, String keys", Some(1.0), size, word_of, false),
];

const FACTS: usize = 4_000_000;

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Words of different ranks are different.
fn word_of(rank: u64) -> String {
    word(rank) + &rank.to_string()
}

type Pairs<K> = Vec<(K, u64)>;

/// What a join makes, counted so that a lost or wrong record shows.
fn checksum<K>(sum: u64, (_, (fact, dimension)): (K, (u64, u64))) -> u64 {
    sum.wrapping_add(scramble(fact).wrapping_mul(dimension | 1))
}

/// Records by the hash of their key, a list a partition.
fn scatter<K: Hash + Eq + Clone + Send + Sync>(parts: &[Pairs<K>], owners: &RandomState) -> Vec<Pairs<K>> {
    let of = threads();
    let scattered: Vec<Vec<Pairs<K>>> = parts
        .par_iter()
        .map(|part| {
            let mut lists: Vec<Pairs<K>> = (0..of).map(|_| Vec::new()).collect();
            for pair in part {
                lists[(owners.hash_one(&pair.0) >> 32) as usize % of].push(pair.clone());
            }
            lists
        })
        .collect();
    let mut placed: Vec<Pairs<K>> = (0..of).map(|_| Vec::new()).collect();
    for lists in scattered {
        placed.iter_mut().zip(lists).for_each(|(all, mut list)| all.append(&mut list));
    }
    placed
}

/// Joins a partition, and folds the records that come out, owned, like the crate's.
fn hash_join<K: Hash + Eq + Clone>(facts: &Pairs<K>, dimensions: &Pairs<K>) -> u64 {
    let mut table: AHashMap<&K, u64> = AHashMap::with_capacity(dimensions.len());
    table.extend(dimensions.iter().map(|(key, value)| (key, *value)));
    let joined = facts.iter().filter_map(|(key, fact)| Some((key.clone(), (*fact, *table.get(key)?))));
    joined.fold(0, checksum)
}

fn case<K: Key>(name: &'static str, target: Option<f64>, size: Size, key: fn(u64) -> K, placed: bool) -> Case {
    let records = size.records(FACTS);
    let keys = records as u64 / 20;
    let mut random = Random::new(7);
    // A tenth of the facts has no dimension.
    let facts: Pairs<K> = (0..records).map(|n| (key(random.below(keys + keys / 9)), n as u64)).collect();
    let dimensions: Pairs<K> = (0..keys).map(|rank| (key(rank), rank)).collect();
    let context = StreamingContext::builder("joins").build().unwrap();
    let owners = RandomState::with_seeds(1, 2, 3, 4);
    let (mut of_facts, mut of_dimensions) = (parts(&facts, threads()), parts(&dimensions, threads()));
    let our_facts = context.parallelize(facts, threads());
    let our_dimensions = context.parallelize(dimensions, threads());
    let into = Partitions::new(threads());
    let (our_facts, our_dimensions) = if placed {
        (of_facts, of_dimensions) = (scatter(&of_facts, &owners), scatter(&of_dimensions, &owners));
        let (facts, dimensions) = (our_facts.partition_by(into).persist(), our_dimensions.partition_by(into).persist());
        let _ = (facts.count().unwrap(), dimensions.count().unwrap());
        (facts, dimensions)
    } else {
        (our_facts, our_dimensions)
    };
    let by_hand = Arc::new((of_facts, of_dimensions));
    Case {
        name,
        records,
        target,
        hand: side(move || {
            let (facts, dimensions) = &*by_hand;
            let join = |(facts, dimensions): (&Pairs<K>, &Pairs<K>)| hash_join(facts, dimensions);
            if placed {
                return facts.par_iter().zip(dimensions).map(join).reduce(|| 0, u64::wrapping_add);
            }
            let (facts, dimensions) = (scatter(facts, &owners), scatter(dimensions, &owners));
            facts.par_iter().zip(&dimensions).map(join).reduce(|| 0, u64::wrapping_add)
        }),
        ours: side(move || {
            let joined = our_facts.join(&our_dimensions);
            joined.aggregate(0, checksum, u64::wrapping_add).unwrap()
        }),
    }
}
