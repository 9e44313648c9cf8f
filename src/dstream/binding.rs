//! What `#[pipeline]` expands to: names a variable's value if it is a stream, and is no concern of any other value.
//!
//! For each variable the macro writes
//!
//! ```text
//! let mark = mark();
//! let halves = numbers.map(|n| n / 2);
//! let probe = probe(&halves);
//! name_binding(&halves, "halves", mark, &probe, &probe as &Probe<_, _, _>);
//! ```
//!
//! The mark tells the operators that the `let` has built from older ones. The same follows for [`MapWithState`], which is
//! a stream and more.
//!
//! The cast decides. `name_binding` asks for a `&Probe<V, V, U>`, where `V` is the type of the variable; `probe`
//! returns a `Probe<DStream<U>, V, U>`, which dereferences to a `Probe<V, V, ()>`. If there is a `U` for which `V` is
//! `DStream<U>`, the probe is already what is asked for, and names the stream. If there is none, the compiler goes on
//! to what the probe dereferences to, and that does nothing.
//!
//! Why not the usual way, a method that streams have and that others find by autoref? A method has to be found where it
//! is called, right after the `let`; there `V` may not be known yet (`let limit = text.parse()?;`), and the compiler
//! would settle on `DStream`. Casts are checked last of all in a function, after every type has been inferred. Where
//! nothing determines a type, the cast does: such a program compiles neither way, but its error names `DStream<_>`.

use std::marker::PhantomData;
use std::ops::Deref;

pub use super::name::{Mark, mark};
use super::{DStream, MapWithState};

/// Names an `A` after its variable, which is of type `V`; `U` is what `V` is a stream of.
#[derive(Debug)]
pub struct Probe<A, V, U> {
    name: fn(&A, &str, Mark),
    types: PhantomData<fn() -> (V, U)>,
}

/// Returns what names the value of a variable if it is a stream.
pub fn probe<V, U>(_variable: &V) -> Probe<DStream<U>, V, U> {
    Probe { name: DStream::name_after_binding, types: PhantomData }
}

/// As what [`probe`] returns, of a stream that also gives states.
type StatefulProbe<V, K, S, U> = Probe<MapWithState<K, S, U>, V, (K, S, U)>;

/// As [`probe`], of a stream that also gives states.
pub fn stateful_probe<V, K, S, U>(_variable: &V) -> StatefulProbe<V, K, S, U> {
    Probe { name: |stream, name, mark| stream.name_after_binding(name, mark), types: PhantomData }
}

impl<V, K, S, U> Deref for StatefulProbe<V, K, S, U> {
    type Target = Probe<V, V, ((), (), ())>;

    fn deref(&self) -> &Probe<V, V, ((), (), ())> {
        const { &Probe { name: |_, _, _| {}, types: PhantomData } }
    }
}

/// As [`name_binding`], of a stream that also gives states.
pub fn name_stateful_binding<V, K, S, U>(
    variable: &V,
    name: &str,
    mark: Mark,
    _probe: &StatefulProbe<V, K, S, U>,
    cast: &Probe<V, V, (K, S, U)>,
) {
    (cast.name)(variable, name, mark);
}

impl<V, U> Deref for Probe<DStream<U>, V, U> {
    type Target = Probe<V, V, ()>;

    fn deref(&self) -> &Probe<V, V, ()> {
        const { &Probe { name: |_, _, _| {}, types: PhantomData } }
    }
}

/// Names a variable's value if the probe was cast to one that does.
pub fn name_binding<V, U>(
    variable: &V,
    name: &str,
    mark: Mark,
    _probe: &Probe<DStream<U>, V, U>,
    cast: &Probe<V, V, U>,
) {
    (cast.name)(variable, name, mark);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StateSpec;
    use crate::context::StreamingContext;
    use crate::data::Data;
    use crate::dstream::node::AnyNode;
    use crate::input::QueueSource;
    use crate::state::KeyState;

    /// What the attribute writes around a `let`.
    macro_rules! bind {
        (let $variable:ident = $value:expr) => {
            let mark = mark();
            let $variable = $value;
            name_binding!(mark, $variable);
        };
    }

    macro_rules! name_binding {
        ($mark:ident, $variable:ident) => {{
            let probe = probe(&$variable);
            name_binding(&$variable, stringify!($variable), $mark, &probe, &probe as &Probe<_, _, _>);
            let probe = stateful_probe(&$variable);
            name_stateful_binding(&$variable, stringify!($variable), $mark, &probe, &probe as &Probe<_, _, _>);
        }};
    }

    /// What a stream is called, and what its state is found by.
    fn names<T: Data>(stream: &DStream<T>) -> (&str, Option<&str>) {
        (stream.node.name(), AnyNode::names(&*stream.node).lasting())
    }

    fn numbers() -> DStream<u8> {
        let context = StreamingContext::builder("test").build().unwrap();
        context.input(QueueSource::<u8>::one_at_a_time())
    }

    #[test]
    fn a_variable_names_a_stream_and_its_state() {
        let numbers = numbers();
        assert_eq!(names(&numbers.count()), ("count", None));

        bind!(let counts = numbers.count());
        assert_eq!(names(&counts), ("counts", Some("counts/count")));
        bind!(let again = counts.clone());
        assert_eq!(names(&again), ("counts", Some("counts/count")));
        let given = counts.named("given");
        assert_eq!(names(&counts), ("given", Some("given")));
        assert_eq!(names(&given), ("given", Some("given")));
    }

    #[test]
    fn operators_belong_to_the_binding_that_builds_them() {
        let numbers = numbers();
        let older = numbers.map(|n| n + 1);
        let mut parts = Vec::new();
        let part = |stream: &DStream<u8>, parts: &mut Vec<DStream<u8>>| {
            parts.push(stream.clone());
            stream.clone()
        };
        bind!(let sums = {
            let first = part(&older.map(|n| n + 1), &mut parts);
            bind!(let inner = part(&first.filter(|n| *n > 1), &mut parts));
            let second = part(&inner.map(|n| n + 2), &mut parts);
            let named = part(&second.map(|n| n + 3), &mut parts).named("third");
            let elsewhere = numbers.map(|n| n + 4);
            parts.push(elsewhere);
            part(&named.union(&first), &mut parts).map(|n| n + 5)
        });
        let found: Vec<_> = parts.iter().map(names).collect();
        let expected = [
            ("sums/map", Some("sums/map")), // built before the `let` of `inner`
            ("inner", Some("inner/filter")),
            ("sums/map 2", Some("sums/map 2")),
            ("third", Some("third")),
            ("map", None), // nothing of `sums` is made of it
            ("sums/union", Some("sums/union")),
        ];
        assert_eq!(found, expected);
        assert_eq!(names(&sums), ("sums", Some("sums/map 4")));
        assert_eq!(names(&older), ("map", None));
        assert_eq!(names(&numbers), ("queue", None));
    }

    #[test]
    fn a_stream_with_states_is_named_too() {
        let spec = StateSpec::function(|_: &u8, _: Option<u8>, _: &mut KeyState<'_, u64>| 7);
        let pairs = numbers().map(|n| (n, n));
        bind!(let sums = pairs.filter(|_| true).map_with_state(spec));
        assert_eq!(names(&sums), ("sums", Some("sums/map_with_state")));
        bind!(let given = sums.named("given"));
        assert_eq!(names(&given), ("given", Some("given")));
    }

    #[test]
    fn other_values_are_no_streams_whenever_their_type_is_known() {
        let mark = mark();
        let numbers = numbers();
        let generic = |value: DStream<u8>| value;
        fn named<T>(value: T, mark: Mark) -> T {
            name_binding!(mark, value);
            value
        }
        let reference = &numbers;
        let pair = (numbers.clone(), ());
        let boxed = Box::new(named(generic(numbers.clone()), mark));
        let later = "7".parse().unwrap();
        name_binding!(mark, reference);
        name_binding!(mark, pair);
        name_binding!(mark, boxed);
        name_binding!(mark, later);
        let _: u8 = later;
        assert_eq!(names(&numbers), ("queue", None));
    }
}
