//! How do I read Kafka messages into a type of my own, and where do those go that do not fit?
//!
//! Orders are messages: the customer is the key, the cart is the value, in JSON, and some have a coupon in a header. The
//! type `Order` says which part goes where, and the program adds up what each customer spends. One message is no JSON and
//! one lacks a field. The program goes on without them; they go to a topic of dead letters, with the reason.
//!
//! ```text
//! cargo run --example typed_records
//! ```
//!
//! The broker is part of the program, which also reads the dead letters. It prints:
//!
//! ```text
//! ann: 4750 cents, coupons: SPRING
//! bob: 400 cents, coupons: none
//! not counted: orders/0 offset 1: `12.50`, field cart: the value cannot be decoded: the JSON is not as it should be: invalid type: floating point `12.5`, expected struct Cart at line 1 column 5
//! not counted: orders/0 offset 3: `{"cents": `, field cart: the value cannot be decoded: not JSON: EOF while parsing a value at line 1 column 10
//! ```

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use serde::Deserialize;
use tidemill::kafka::embedded::EmbeddedBroker;
use tidemill::kafka::{
    self, AutoOffsetReset, DeadLetters, FromKafka, KafkaParams, Producer, ProducerParams, ProducerRecord, Subscription,
    Undecodable,
};
use tidemill::prelude::*;

#[derive(Clone, FromKafka)]
struct Order {
    #[kafka(key)]
    customer: String,
    #[kafka(value = json)]
    cart: Cart,
    #[kafka(header = "coupon")]
    coupon: Option<String>,
}

#[derive(Clone, Deserialize)]
struct Cart {
    cents: u64,
}

/// A message of the other topic: the value as it was, and where it was and why it is here.
#[derive(Clone, FromKafka)]
struct DeadLetter {
    #[kafka(value)]
    value: String,
    #[kafka(header = "tidemill.dead-letter.topic")]
    topic: String,
    #[kafka(header = "tidemill.dead-letter.partition")]
    partition: String,
    #[kafka(header = "tidemill.dead-letter.offset", utf8)]
    offset: i64,
    #[kafka(header = "tidemill.dead-letter.reason")]
    reason: String,
}

fn main() -> Result<()> {
    let broker = EmbeddedBroker::start(1)?;
    broker.create_topic("orders", 1)?;
    broker.create_topic("orders.dead", 1)?;
    let producer = Producer::new(ProducerParams::new(broker.bootstrap_servers()))?;
    place_orders(&producer)?;

    let context = StreamingContext::builder("orders").batch_interval(Duration::from_millis(50)).build()?;
    let params = |group: &str| {
        let params = KafkaParams::new(broker.bootstrap_servers()).group_id(group);
        params.auto_offset_reset(AutoOffsetReset::Earliest)
    };

    let dead_letters = Undecodable::DeadLetters(DeadLetters::new(&producer, "orders.dead"));
    let orders = kafka::direct_stream_as::<Order>(
        &context,
        params("totals").undecodable(dead_letters),
        Subscription::topics(["orders"]),
    );
    let (send_orders, counted) = mpsc::channel();
    orders.foreach_batch(move |orders, _| orders.foreach(|order| send_orders.send(order).map_err(Error::user)));

    let letters =
        kafka::direct_stream_as::<DeadLetter>(&context, params("dead letters"), Subscription::topics(["orders.dead"]));
    let (send_letters, not_counted) = mpsc::channel();
    letters.foreach_batch(move |letters, _| letters.foreach(|letter| send_letters.send(letter).map_err(Error::user)));

    context.start()?;
    let orders: Vec<Order> = counted.iter().take(3).collect();
    let mut letters: Vec<DeadLetter> = not_counted.iter().take(2).collect();
    context.stop(Stop::Gracefully)?;

    let mut totals = BTreeMap::<String, (u64, Vec<String>)>::new();
    for Order { customer, cart, coupon } in orders {
        let (cents, coupons) = totals.entry(customer).or_default();
        *cents += cart.cents;
        coupons.extend(coupon);
    }
    let mut out = std::io::stdout();
    for (customer, (cents, coupons)) in totals {
        let coupons = if coupons.is_empty() { "none".to_string() } else { coupons.join(", ") };
        writeln!(out, "{customer}: {cents} cents, coupons: {coupons}")?;
    }
    letters.sort_by_key(|letter| letter.offset);
    for DeadLetter { value, topic, partition, offset, reason } in letters {
        writeln!(out, "not counted: {topic}/{partition} offset {offset}: `{value}`, {reason}")?;
    }
    Ok(())
}

fn place_orders(producer: &Producer) -> Result<()> {
    let placed = producer.begin();
    for (customer, cart, coupon) in [
        ("ann", r#"{"cents": 1250}"#, Some("SPRING")),
        ("bob", "12.50", None),
        ("bob", r#"{"cents": 400}"#, None),
        ("ann", r#"{"cents": "#, None),
        ("ann", r#"{"cents": 3500}"#, None),
    ] {
        let mut order = ProducerRecord::new("orders", cart).with_key(customer);
        if let Some(coupon) = coupon {
            order = order.with_header("coupon", coupon);
        }
        placed.send(&order)?;
    }
    placed.finish()
}
