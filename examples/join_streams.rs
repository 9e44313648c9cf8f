//! How do I join two streams within a window?
//!
//! Orders and payments come on streams of their own. A join looks at the batches of one time, so the orders are kept in
//! a window of three batches, and every payment is joined with the orders of that window as it comes. In the batch in
//! which an order leaves the window, what is not paid is called late.
//!
//! ```text
//! cargo run --example join_streams
//! ```
//!
//! The inputs are queues, a batch is 50 ms, and the program ends after six batches. It prints:
//!
//! ```text
//! batch 1
//! batch 2: order 1 (1250 cents) paid by card
//! batch 3: order 3 (400 cents) paid by cash
//! batch 4: order 2 (9900 cents) is late
//! batch 5
//! batch 6: order 4 (700 cents) is late
//! ```

use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use tidemill::prelude::*;

fn main() -> Result<()> {
    let batch = Duration::from_millis(50);
    let context = StreamingContext::builder("orders and payments").batch_interval(batch).build()?;

    // (order, cents)
    let placed = QueueSource::one_at_a_time();
    placed.push([(1, 1250), (2, 9900)]);
    placed.push([(3, 400)]);
    placed.push([(4, 700)]);
    let orders: DStream<(u32, u32)> = context.input(placed);

    // (order, how it was paid)
    let received = QueueSource::one_at_a_time();
    received.push([]);
    received.push([(1, "card".to_string())]);
    received.push([(3, "cash".to_string())]);
    received.push([]);
    received.push([]);
    // Too late: the order has left the window.
    received.push([(4, "card".to_string())]);
    let payments: DStream<(u32, String)> = context.input(received);

    // Only the orders have a window: with one on both sides, a pair would come in every window that has both. Both
    // sides slide by a batch, which a join needs.
    let open = orders.window(3 * batch, batch);
    let paid = open.join(&payments);

    // What is in the last four batches and not in the last three has just left the window.
    let leaving = orders.window(4 * batch, batch).subtract_by_key(&open);
    let late = leaving.subtract_by_key(&paid.window(4 * batch, batch));

    let paid = paid.map(|(order, (cents, how))| format!("order {order} ({cents} cents) paid by {how}"));
    let late = late.map(|(order, cents)| format!("order {order} ({cents} cents) is late"));
    let (send, batches) = mpsc::channel();
    paid.union(&late).foreach_batch(move |lines, _| send.send(lines.collect()?).map_err(Error::user));

    context.start()?;
    for (number, lines) in (1..=6).zip(&batches) {
        let lines: Vec<String> = lines;
        let line = [vec![format!("batch {number}")], lines].concat().join(": ");
        writeln!(std::io::stdout(), "{line}")?;
    }
    context.stop(Stop::Gracefully)
}
