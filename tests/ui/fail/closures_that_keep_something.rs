use std::cell::Cell;
use std::rc::Rc;

use tidemill::DStream;

fn above(depths: &DStream<u64>) -> DStream<u64> {
    let limit = 7;
    depths.filter(|depth| *depth > limit)
}

fn counted(depths: &DStream<u64>) -> DStream<u64> {
    let seen = Rc::new(Cell::new(0));
    depths.inspect(move |_| seen.set(seen.get() + 1))
}

fn main() {}
