//! Records, keys and values as the messages of `fail` ask for them.

use std::sync::Arc;
use std::time::Duration;

use tidemill::testing::run2;
use tidemill::{DStream, Result};

#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
struct Harbour {
    name: String,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Cargo {
    tons: f64,
}

/// Does not cross a shuffle.
#[derive(Clone)]
struct Ticket(Arc<str>);

fn heaviest(ships: &DStream<(Harbour, Cargo)>) -> DStream<(Harbour, Cargo)> {
    let heavier = |a: Cargo, b: Cargo| if a.tons > b.tons { a } else { b };
    ships.reduce_by_key_and_window(heavier, Duration::from_secs(2), Duration::from_secs(1))
}

type Joined = (Harbour, (Cargo, Option<u64>));

fn with_depths(ships: &DStream<(Harbour, Cargo)>, depths: &DStream<(Harbour, u64)>) -> DStream<Joined> {
    ships.cogroup(depths).flat_map_values(|(ships, depths)| {
        let depth = depths.first().copied();
        ships.into_iter().map(move |cargo| (cargo, depth))
    })
}

fn tickets(names: &DStream<String>) -> DStream<usize> {
    names.map(|name| Ticket(Arc::from(name))).map(|ticket| ticket.0.len())
}

pub(crate) fn main() {
    let ship = |tons| vec![(Harbour { name: "Hull".to_string() }, Cargo { tons })];
    let out = run2([ship(2.5), ship(1.5)], [["tide".to_string()]], |ships, names| {
        tickets(&names).foreach_batch(|lengths, _| lengths.collect().map(drop));
        let joined = ships.left_outer_join(&ships.map_values(|_| 7));
        joined.union(&with_depths(&ships, &ships.map_values(|_| 7))).foreach_batch(|all, _| all.collect().map(drop));
        heaviest(&ships)
    });
    assert_eq!(out.map_err(|error| error.to_string()), Result::<_, String>::Ok(vec![ship(2.5), ship(2.5)]));
}
