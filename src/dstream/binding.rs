//! What `#[pipeline]` expands to: names a variable's value if it is a stream, and is no concern of any other value.
//!
//! For each variable the macro writes
//!
//! ```text
//! let halves = numbers.map(|n| n / 2);
//! let probe = probe(&halves);
//! name_binding(&halves, "halves", &probe, &probe as &Probe<_, _, _>);
//! ```
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

use super::DStream;

/// Names an `A` after its variable, which is of type `V`; `U` is what `V` is a stream of.
#[derive(Debug)]
pub struct Probe<A, V, U> {
    name: fn(&A, &str),
    types: PhantomData<fn() -> (V, U)>,
}

/// Returns what names the value of a variable if it is a stream.
pub fn probe<V, U>(_variable: &V) -> Probe<DStream<U>, V, U> {
    Probe { name: DStream::name_after_binding, types: PhantomData }
}

impl<V, U> Deref for Probe<DStream<U>, V, U> {
    type Target = Probe<V, V, ()>;

    fn deref(&self) -> &Probe<V, V, ()> {
        const { &Probe { name: |_, _| {}, types: PhantomData } }
    }
}

/// Names a variable's value if the probe was cast to one that does.
pub fn name_binding<V, U>(variable: &V, name: &str, _probe: &Probe<DStream<U>, V, U>, cast: &Probe<V, V, U>) {
    (cast.name)(variable, name);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::StreamingContext;
    use crate::data::Data;
    use crate::dstream::node::AnyNode;
    use crate::input::QueueSource;

    /// What the attribute writes after a `let`.
    macro_rules! name_binding {
        ($variable:ident) => {{
            let probe = probe(&$variable);
            name_binding(&$variable, stringify!($variable), &probe, &probe as &Probe<_, _, _>);
        }};
    }

    /// What a stream is called, and what its state is found by.
    fn names<T: Data>(stream: &DStream<T>) -> (&str, &str) {
        (stream.node.name(), AnyNode::lasting_name(&*stream.node))
    }

    #[test]
    fn a_variable_names_a_stream_for_people_and_not_for_checkpoints() {
        let context = StreamingContext::builder("test").build().unwrap();
        let numbers = context.input(QueueSource::<u8>::one_at_a_time());
        assert_eq!(names(&numbers.count()), ("count", "count"));

        let counts = numbers.count();
        name_binding!(counts);
        assert_eq!(names(&counts), ("counts", "count"));
        let again = counts.clone();
        name_binding!(again);
        assert_eq!(names(&again), ("counts", "count"));
        let given = counts.named("given");
        name_binding!(given);
        assert_eq!(names(&counts), ("given", "given"));
        assert_eq!(names(&given), ("given", "given"));
    }

    #[test]
    fn other_values_are_no_streams_whenever_their_type_is_known() {
        fn generic<T>(value: T) -> T {
            name_binding!(value);
            value
        }
        let context = StreamingContext::builder("test").build().unwrap();
        let numbers = context.input(QueueSource::<u8>::one_at_a_time());
        let reference = &numbers;
        let pair = (numbers.clone(), ());
        let boxed = Box::new(generic(numbers.clone()));
        let later = "7".parse().unwrap();
        name_binding!(reference);
        name_binding!(pair);
        name_binding!(boxed);
        name_binding!(later);
        let _: u8 = later;
        assert_eq!(names(&numbers).0, names(&numbers).1);
    }
}
