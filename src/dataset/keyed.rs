//! Operations on datasets of pairs.

mod cogroup;
mod combine_by_key;
mod count_by_value;
mod group_by_key;
mod join;
mod reduce_by_key;
#[cfg(test)]
mod tests;
mod top_k_by_value;
mod values;

pub use count_by_value::ValueEmitter;
pub use reduce_by_key::PairEmitter;
