//! `#[pipeline]`: what fails is called what the program calls it, and nothing else changes.
//!
//! What a program may not write is in `macros/tests/ui`.

#![allow(clippy::unwrap_used, reason = "test helpers are tests")]

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Display;
use std::panic::Location;
use std::rc::Rc;

use tidemill::prelude::*;
use tidemill::{StreamingContextBuilder, testing};

/// Runs a graph whose operators divide by the records, of which one is zero, and returns how the error begins.
fn failure(build: impl FnOnce(DStream<i32>) -> DStream<i32>) -> String {
    let error = testing::run([vec![0]], build).unwrap_err().to_string();
    let place = error.split_inclusive(')').find_map(|part| part.split_once("operator ")).map(|(_, place)| place);
    place.unwrap_or_else(|| panic!("no operator in: {error}")).to_string()
}

fn shares(numbers: &DStream<i32>) -> DStream<i32> {
    numbers.map(|n| 100 / n)
}

#[test]
fn a_stream_is_called_as_its_variable() {
    const LINE: u32 = line!() + 3;
    #[tidemill::pipeline]
    fn build(numbers: DStream<i32>) -> DStream<i32> {
        let halves = numbers.map(|n| 100 / n);
        halves
    }
    assert_eq!(failure(build), format!("halves (tests/pipeline.rs:{LINE})"));
}

#[test]
fn a_name_given_wins_in_either_order() {
    #[pipeline]
    fn before(numbers: DStream<i32>) -> DStream<i32> {
        let x = shares(&numbers).named("y");
        x
    }
    #[pipeline]
    fn after(numbers: DStream<i32>) -> DStream<i32> {
        let x = shares(&numbers);
        let z = x.named("y");
        z
    }
    assert!(failure(before).starts_with("y ("));
    assert!(failure(after).starts_with("y ("));
}

#[test]
fn the_first_of_several_bindings_stays() {
    #[pipeline]
    fn inner(numbers: &DStream<i32>) -> DStream<i32> {
        let first = shares(numbers);
        let second = first.clone();
        second
    }
    #[pipeline]
    fn build(numbers: DStream<i32>) -> DStream<i32> {
        let third = inner(&numbers);
        let r#fourth = third;
        fourth
    }
    assert!(failure(build).starts_with("first ("));
}

#[test]
fn all_operators_of_an_expression_are_called_as_the_variable() {
    #[pipeline]
    fn chain(numbers: DStream<i32>) -> DStream<i32> {
        let larger = numbers.map(|n| n + 1).map(|n| 100 / (n - 1)).filter(|n| *n > 1).map(|n| n + 1);
        larger
    }
    #[pipeline]
    fn called(numbers: DStream<i32>) -> DStream<i32> {
        let moved = numbers.map(i32::abs);
        let called = shares(&moved).filter(|n| *n > 1);
        called
    }
    #[pipeline]
    fn closure(numbers: DStream<i32>) -> DStream<i32> {
        let add = |numbers: &DStream<i32>| shares(numbers).map(|n| n + 1);
        let outer = add(&numbers).filter(|n| *n > 1);
        outer
    }
    #[pipeline]
    fn repeated(numbers: DStream<i32>) -> DStream<i32> {
        let mut all = numbers.map(|n| n + 1);
        for dividend in [100, 200] {
            let next = all.map(move |n| dividend / (n - 1)).filter(|n| *n > 1);
            all = next;
        }
        all
    }
    assert!(failure(chain).starts_with("larger/map 2 ("));
    assert!(failure(called).starts_with("called/map ("));
    assert!(failure(closure).starts_with("outer/map ("));
    assert!(failure(repeated).starts_with("next/map ("));
}

#[test]
fn what_was_there_before_is_left_as_it_is() {
    struct Streams {
        shares: DStream<i32>,
    }
    #[pipeline]
    fn build(streams: &Streams) -> DStream<i32> {
        let large = streams.shares.filter(|n| *n > 10);
        let again = streams.shares.clone();
        large.union(&again)
    }
    assert!(failure(|numbers| build(&Streams { shares: shares(&numbers) })).starts_with("map ("));
}

#[test]
fn nested_blocks_are_visited_and_closures_are_not() {
    #[pipeline]
    fn nested(numbers: DStream<i32>) -> DStream<i32> {
        if numbers.slide_duration().is_zero() {
            numbers
        } else {
            let mut inside: DStream<i32> = shares(&numbers);
            for _ in 0..2 {
                inside = inside.clone();
            }
            inside
        }
    }
    #[pipeline]
    fn closure(numbers: DStream<i32>) -> DStream<i32> {
        let build = || {
            let inside = shares(&numbers);
            inside.clone()
        };
        build()
    }
    assert!(failure(nested).starts_with("inside ("));
    assert!(failure(closure).starts_with("map ("));
}

#[test]
fn any_function_is_fine() {
    struct Divide(i32);

    impl Divide {
        #[pipeline]
        fn all(&self, numbers: &DStream<i32>) -> DStream<i32> {
            let dividend = self.0;
            let divided = numbers.map(move |n| dividend / n);
            divided
        }
    }

    trait Build {
        #[pipeline]
        fn build(self, numbers: DStream<i32>) -> DStream<i32>
        where
            Self: Sized,
        {
            let divided = shares(&numbers);
            divided
        }
    }
    impl Build for Divide {}

    #[pipeline]
    async fn later(numbers: DStream<i32>) -> DStream<i32> {
        let number = std::future::ready(numbers).await;
        let divided = shares(&number);
        let done = std::future::ready(divided).await;
        done
    }

    #[pipeline]
    const fn constant(n: i32) -> i32 {
        let next = n.wrapping_add(1);
        next.wrapping_add(1)
    }

    #[pipeline]
    fn generic<T: Data + Display, const N: usize>(stream: &DStream<T>) -> DStream<String> {
        let texts = stream.map(|record| record.to_string().repeat(N));
        texts
    }

    assert!(failure(|numbers| Divide(1).all(&numbers)).starts_with("divided ("));
    assert!(failure(|numbers| Divide(1).build(numbers)).starts_with("divided ("));
    assert!(failure(|numbers| pollster(later(numbers))).starts_with("divided ("));
    assert_eq!(const { constant(1) }, 3);
    assert_eq!(testing::run([vec![1, 2]], |numbers| generic::<i32, 2>(&numbers)).unwrap(), [["11", "22"]]);
}

/// Runs a future that never waits.
fn pollster<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the future waits"),
    }
}

#[test]
fn inputs_are_named_and_the_context_may_start_in_the_function() {
    #[pipeline]
    fn program(builder: StreamingContextBuilder) -> Result<()> {
        let context = builder.build()?;
        let queue = QueueSource::one_at_a_time();
        queue.push([0]);
        let numbers = context.input(queue);
        let halves = numbers.map(|n: i32| 100 / n);
        halves.foreach_batch(|batch, _| batch.collect().map(drop));
        context.start()?;
        context.await_termination()
    }
    let interval = std::time::Duration::from_millis(10);
    let error = program(StreamingContext::builder("named").batch_interval(interval)).unwrap_err();
    assert!(error.to_string().contains("operator halves (tests/pipeline.rs:"), "{error}");
}

/// Where a function was called.
#[track_caller]
fn line() -> u32 {
    Location::caller().line()
}

/// Bindings that would not compile, or would mean something else, if naming asked anything of them.
#[pipeline]
#[warn(unused)]
fn bindings_of_other_types<'a, T>(value: T, text: &'a str, returns: bool) -> (T, u64) {
    let moved = value; // neither Clone nor anything else
    let count = text.parse().unwrap(); // inferred from the return type, long after
    let default = Default::default(); // inferred from the call of `takes`
    let list: Vec<_> = text.chars().collect();
    let mut empty = Vec::new();
    empty.extend(list);
    let counter = Rc::new(Cell::new(0));
    let guard = counter.as_ref();
    guard.set(1);
    let exclusive = &mut empty;
    let reborrowed = exclusive.first_mut().unwrap();
    *reborrowed = 'x';
    let temporary: &str = &text.repeat(2); // lives as long as its variable
    let in_a_block = {
        let inner = String::from(temporary).leak();
        &*inner
    };
    let boxed: Box<dyn Fn(&str) -> usize> = Box::new(|text| text.len()); // coerced
    let unboxed = <[u8]>::len; // a function item
    let nothing = None;
    let known: Option<&'a str> = nothing;
    let never = if returns { return (moved, 0) } else { text };
    let Some(first) = never.chars().next() else { return (moved, count) };
    let map = HashMap::from([(first, boxed(in_a_block))]);
    let inferred = |x| x; // its type is that of its call
    let raw = std::ptr::from_ref(&map);
    assert!(!inferred(raw).is_null() && known.is_none() && unboxed(b"ab") == 2);
    takes(default);
    (moved, count)
}

fn takes(_: [u8; 3]) {}

#[test]
fn other_values_stay_what_they_are() {
    struct Bare;
    let (Bare, count) = bindings_of_other_types(Bare, "7", false);
    assert_eq!(count, 7);
    assert_eq!(bindings_of_other_types((), "7", true).1, 0);
}

#[test]
#[pipeline]
fn lines_stay_where_they_are() {
    let here = line();
    assert_eq!(here, line!() - 1);
}

#[test]
#[should_panic = "on purpose"]
#[pipeline]
fn a_value_that_never_comes() {
    #[expect(
        unused_variables,
        clippy::diverging_sub_expression,
        reason = "as without the attribute: it is used where nobody gets to"
    )]
    let never = panic!("on purpose");
    let _ = [never].len(); // asks for no type
}

#[test]
#[pipeline]
fn a_let_that_is_configured_away() {
    #[cfg(any())]
    let absent = does_not_exist();
    #[cfg(not(any()))]
    let absent = String::new();
    drop(absent);
}

#[test]
#[pipeline]
fn the_compiler_still_warns_of_what_is_never_used() {
    #[expect(unused_variables, reason = "this is the test")]
    let never_used = String::new();
    #[expect(unused_mut, reason = "this is the test")]
    let mut never_changed = String::new();
    drop(never_changed);
}
