//! The expansion is as silent as what it expands, under every lint a program may ask for.

#![deny(warnings, unused, unused_qualifications, trivial_casts, trivial_numeric_casts, unreachable_pub)]
#![deny(single_use_lifetimes, let_underscore_drop, missing_docs, unused_results, future_incompatible)]
#![forbid(unsafe_code)]
#![no_implicit_prelude]

use ::std::result::Result::{Err, Ok};

/// Modules of the same name do not confuse it.
mod tidemill {}

#[::tidemill::pipeline]
fn main() {
    // The name of the expansion's own variable is free for others.
    let __probe = ::std::string::String::new();
    let probe = __probe;
    let out = ::tidemill::testing::run([[1], [2]], build);
    match out {
        Ok(out) => ::std::assert_eq!(out, [[10], [20]]),
        Err(error) => ::std::panic!("{error}{probe}"),
    }
}

#[::tidemill::pipeline]
fn build(numbers: ::tidemill::DStream<i32>) -> ::tidemill::DStream<i32> {
    let tens = numbers.map(|n| n * 10);
    tens
}
