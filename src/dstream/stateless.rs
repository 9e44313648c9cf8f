//! Operators that look at one batch at a time, on records of any type.

mod narrow;
mod reduce;
mod transform;
mod union;

pub use transform::{AsDStream, StreamSet, Together};
