//! Names of things that mean the same in every process that builds the same graph.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Names an operator of the graph: the same program gives the same id in every process and after every restart.
///
/// It is derived from the operator's name, wherever in the graph it is; if it has none, from its method and the ids of
/// its parents. Among operators that share all of that it is their order in the graph. So an edit elsewhere in the
/// graph leaves it alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct OperatorId(u64);

impl OperatorId {
    /// The id as a number, as it is kept on disk.
    pub(crate) fn to_u64(self) -> u64 {
        self.0
    }

    /// The id that was kept as this number.
    pub(crate) fn from_u64(id: u64) -> Self {
        OperatorId(id)
    }

    /// Derives the id of an operator with a name from the name and its place among equals.
    pub(crate) fn of_name(name: &str, place: u32) -> Self {
        let mut hash = Fnv::new();
        hash.write(&[0xff]); // in no text: no method has this id
        hash.write(name.as_bytes());
        hash.write(&[0]);
        hash.write(&place.to_le_bytes());
        OperatorId(hash.0)
    }

    /// Derives the id of an operator without a name from its method, its parents and its place among equals.
    pub(crate) fn derive(method: &str, parents: &[OperatorId], place: u32) -> Self {
        let mut hash = Fnv::new();
        hash.write(method.as_bytes());
        hash.write(&[0]);
        for parent in parents {
            hash.write(&parent.0.to_le_bytes());
        }
        hash.write(&place.to_le_bytes());
        OperatorId(hash.0)
    }
}

/// The part of a window that its panes are.
pub(crate) const PANES: &str = "panes";

/// What a part of an operator with a name is found by: what the two of them keep belongs together.
pub(crate) fn part_name(whole: &str, part: &str) -> String {
    format!("{whole}/{part}")
}

impl fmt::Display for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorId({self})")
    }
}

/// FNV-1a: a hash that is the same on every machine and in every version, for ids that are kept.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// Names an input stream: its place among the inputs, in the order in which they were built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The operator that a dataset comes from, and the line of the program that built it. Every error of a task names it.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The operator's id; of a dataset made outside of the graph, one derived from its place in the program.
    pub(crate) operator: OperatorId,
    /// The operator's method, or the name it was given: `map`, `clicks per user`.
    pub(crate) name: Arc<str>,
    /// The line of the program that built the operator.
    pub(crate) site: &'static Location<'static>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operator {} ({}:{})", self.name, self.site.file(), self.site.line())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_depend_on_name_or_method_and_parents_and_on_place() {
        let source = OperatorId::derive("queue", &[], 0);
        let map = OperatorId::derive("map", &[source], 0);
        assert_eq!(map, OperatorId::derive("map", &[source], 0));
        assert_ne!(map, OperatorId::derive("map", &[source], 1));
        assert_ne!(map, OperatorId::derive("filter", &[source], 0));
        assert_ne!(map, OperatorId::derive("map", &[], 0));
        let named = OperatorId::of_name("map", 0);
        assert_ne!(named, OperatorId::derive("map", &[], 0));
        assert_ne!(named, OperatorId::of_name("map", 1));
        // Kept in checkpoints: these values may never change.
        assert_eq!(source.to_string(), "dc37c58a22868688");
        assert_eq!(named.to_string(), "77fe3506a62976d8");
    }
}
