//! Operations on datasets of pairs.

mod group_by_key;
mod reduce_by_key;
mod values;

pub use reduce_by_key::PairEmitter;
