use std::rc::Rc;

use tidemill::DStream;

struct Ticket {
    number: u64,
}

fn names(lines: &DStream<String>) -> DStream<Rc<str>> {
    lines.map(|line| Rc::from(line))
}

fn tickets(numbers: &DStream<u64>) -> DStream<Ticket> {
    numbers.map(|number| Ticket { number })
}

fn main() {}
