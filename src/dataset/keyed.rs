//! Operations on datasets of pairs.

mod count_by_value;
mod group_by_key;
mod reduce_by_key;
mod values;

pub use count_by_value::ValueEmitter;
pub use reduce_by_key::PairEmitter;
