//! As pipeline_user_errors.rs, for what the borrow checker finds, which runs if the types are right.

use tidemill::prelude::*;

#[tidemill::pipeline]
fn moved(numbers: DStream<i32>) -> (DStream<i32>, DStream<i32>) {
    let halves = numbers.map(|n| n / 2);
    drop(halves);
    (halves.clone(), halves)
}

#[tidemill::pipeline]
fn not_mutable() {
    let list = Vec::new();
    list.push(1);
}

#[tidemill::pipeline]
fn does_not_live() -> String {
    let text = {
        let inner = String::new();
        inner.as_str()
    };
    text.to_string()
}

fn main() {}
