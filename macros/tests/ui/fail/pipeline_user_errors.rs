//! Mistakes in a function with named streams are reported as without the attribute, at the program's own words.

use tidemill::prelude::*;

#[tidemill::pipeline]
fn mismatched(numbers: DStream<i32>) -> DStream<String> {
    let halves = numbers.map(|n| n / 2);
    halves
}

#[tidemill::pipeline]
fn no_such_method(numbers: DStream<i32>) -> DStream<i32> {
    let halves = numbers.halve();
    halves
}

trait Limit: Sized {
    fn any() -> Self;
}

impl Limit for u8 {
    fn any() -> Self {
        1
    }
}

/// Without the attribute, "type annotations needed": a type that nothing determines may be a stream's.
#[tidemill::pipeline]
fn unknown_type() {
    let limit = Limit::any();
    drop(limit);
}

#[tidemill::pipeline]
fn unknown_parameter() {
    let list = Vec::new();
    drop(list);
}

fn main() {}
