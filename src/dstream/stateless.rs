//! Operators that look at one batch at a time, on records of any type.

mod distinct;
mod narrow;
mod partitions;
mod reduce;
mod transform;
mod union;
