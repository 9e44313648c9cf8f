//! The macros of [`tidemill`](https://docs.rs/tidemill), which exports them: use them from there.
//!
//! Entry points only: each macro is a function on `proc_macro2` tokens in a file of its own.

mod from_kafka;
mod pipeline;

use proc_macro::TokenStream;

/// Names the streams of a graph-building function after the variables they are bound to.
///
/// Errors, events and metrics then say `operator clicks_per_user (main.rs:12)` instead of
/// `operator reduce_by_key (main.rs:12)`. All operators that a `let` builds for its value belong to the variable; those
/// before the last are called `clicks_per_user/map`, with a number from the second `map` on. A name given with
/// [`named`] wins, before the binding or after it, and so does that of an earlier binding.
///
/// **State in checkpoints is found by these names**, by `clicks_per_user/map_with_state` say. So the `let` may be moved
/// and fed by other streams, and other operators may come and go in it: it keeps its state. If the variable is renamed,
/// or the attribute comes or goes, the next start reports state that is gone, and how to keep it.
///
/// It goes on any function with a body: `main`, an `async fn`, a generic one, a method.
///
/// # Examples
///
/// ```
/// use tidemill::prelude::*;
/// use tidemill::testing;
///
/// #[tidemill::pipeline]
/// fn large_shares(numbers: DStream<i32>) -> DStream<i32> {
///     let shares = numbers.map(|n| 100 / n);
///     let large = shares.filter(|n| *n > 10);
///     large
/// }
///
/// let error = testing::run([vec![0]], large_shares).unwrap_err();
/// assert!(error.to_string().contains("operator shares"), "{error}");
/// ```
///
/// # What is named
///
/// `let name = ...;`, also with `mut` or a type, also in nested blocks, if the value is a `DStream` and the name is
/// used later on; and what its expression builds, also in functions and closures that it calls. A stream that was there
/// before the `let` is left as it is. Everything else is as it was written: bindings of other types, destructuring, `let ... else`,
/// variables that are declared first and assigned later, and what closures, `async` blocks, nested functions and macro
/// calls contain. In a `const fn` nothing is named.
///
/// What is added refers to `::tidemill`: the dependency has to keep its name.
///
/// # Errors
///
/// Arguments, anything but a function, and a function without a body do not compile.
///
/// [`named`]: https://docs.rs/tidemill/latest/tidemill/struct.DStream.html#method.named
#[proc_macro_attribute]
pub fn pipeline(args: TokenStream, item: TokenStream) -> TokenStream {
    pipeline::expand(args.into(), item.into()).into()
}

/// Builds a struct from a Kafka message: each field says which part of the message it takes.
///
/// | attribute | the field's type | takes |
/// |---|---|---|
/// | `#[kafka(key)]` | `Decode` | the key |
/// | `#[kafka(value)]` | `Decode` | the value |
/// | `#[kafka(header = "name")]` | `Decode` | the last header of this name |
/// | `#[kafka(key = utf8)]`, `#[kafka(value = utf8)]`, `#[kafka(header = "name", utf8)]` | [`FromStr`]: `String`, `u64`, ... | text |
/// | `... = json` | `serde::Deserialize` | JSON |
/// | `... = bytes` | `From<Vec<u8>>`: `Vec<u8>`, `bytes::Bytes`, ... | the bytes as they are |
/// | `#[kafka(headers)]` | `KafkaHeaders`, or any collection of `(String, Option<Vec<u8>>)` | all headers, in order |
/// | `#[kafka(topic)]` | `From<&str>`: `String`, `Arc<str>`, ... | the topic |
/// | `#[kafka(partition)]`, `#[kafka(offset)]` | `i32`, `i64` | the partition and the offset |
/// | `#[kafka(timestamp)]` | `Time` | when the record was made or appended |
///
/// Every field has one attribute; several fields may take the same part. A field of type `Option<_>`, written so, is
/// `None` where key, value or header are null or not there, or the message has no timestamp. For any other type that is
/// an error, and so are bytes that cannot be decoded, also for an `Option`. Such an error names the field.
///
/// It goes on structs with named fields and on tuple structs. Type parameters are given the bounds that their fields
/// need.
///
/// What is written refers to `::tidemill`: the dependency has to keep its name.
///
/// # Errors
///
/// Enums, unions, structs with a lifetime, fields without attribute and attributes that say something else do not
/// compile.
///
/// [`FromStr`]: std::str::FromStr
#[proc_macro_derive(FromKafka, attributes(kafka))]
pub fn from_kafka(item: TokenStream) -> TokenStream {
    from_kafka::expand(item.into()).into()
}
