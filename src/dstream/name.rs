//! What an operator is called: in errors and events, and in what outlives the process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::node::{AnyNode, Edge};

/// How many operators this process has built. It says nothing but which of two was built first, and is the one thing
/// that the graphs of a process share: where an expression begins, nobody knows yet which graph it will add to.
static BUILT: AtomicU64 = AtomicU64::new(0);

/// A moment of building: operators are older or newer.
#[derive(Clone, Copy, Debug)]
pub struct Mark(u64);

/// Returns the moment before an expression that may build operators.
pub fn mark() -> Mark {
    Mark(BUILT.load(Ordering::Relaxed))
}

/// The names of an operator besides that of its method.
pub(crate) struct Names {
    /// How many operators there were before it.
    built: u64,
    /// The name that the program gave it.
    given: OnceLock<String>,
    /// The name that the program gave the operator that it is a variant of.
    given_as: OnceLock<String>,
    bound: OnceLock<Bound>,
}

/// The place of an operator in the value of a variable.
struct Bound {
    /// The variable and the method: `clicks_per_user/map`.
    place: String,
    /// The variable, if the operator is its value and not only one of those that the value is made of.
    variable: Option<String>,
}

impl Names {
    pub(crate) fn new() -> Self {
        Names {
            built: BUILT.fetch_add(1, Ordering::Relaxed),
            given: OnceLock::new(),
            given_as: OnceLock::new(),
            bound: OnceLock::new(),
        }
    }

    /// What the operator is called in errors and events.
    pub(crate) fn shown(&self) -> Option<&str> {
        let bound = || self.bound.get().map(|bound| bound.variable.as_ref().unwrap_or(&bound.place));
        self.given.get().or_else(bound).map(String::as_str)
    }

    /// What the operator is found by after a restart, wherever in the graph it is then.
    pub(crate) fn lasting(&self) -> Option<&str> {
        self.given.get().or_else(|| self.bound.get().map(|bound| &bound.place)).map(String::as_str)
    }

    /// The name of the operator that it is a variant of, if it has none of its own.
    pub(crate) fn variant_of(&self) -> Option<&str> {
        if self.lasting().is_some() { None } else { self.given_as.get().map(String::as_str) }
    }

    pub(crate) fn given(&self) -> Option<&str> {
        self.given.get().map(String::as_str)
    }

    /// Names the operator, once.
    pub(crate) fn give(&self, name: &str) -> Result<(), String> {
        self.given.set(name.to_string())
    }

    /// Makes the operator a variant of another one, if that has a name.
    pub(crate) fn give_as(&self, other: &Names) {
        if let Some(name) = other.given().or_else(|| other.variant_of()) {
            let _ = self.given_as.set(name.to_string());
        }
    }

    fn is_newer(&self, mark: Mark) -> bool {
        self.built >= mark.0
    }
}

/// An operator, as far as names go.
pub(super) struct Named<'n> {
    pub(super) names: &'n Names,
    pub(super) method: &'n str,
    pub(super) parents: Vec<Edge>,
}

/// Names a value, and the operators that it is made of, after a variable: those that were built since `mark`, and that
/// belong to no other variable already. Of several of one method all but the first have a number.
pub(super) fn name_after_binding(variable: &str, value: &Named<'_>, mark: Mark) {
    if !value.names.is_newer(mark) {
        return;
    }
    let mut seen = BTreeSet::new();
    let mut behind = Vec::new();
    visit(&value.parents, mark, &mut seen, &mut behind);
    let mut methods: BTreeMap<&str, u32> = BTreeMap::new();
    let operators = behind.iter().map(|node| (node.names(), node.operator_name()));
    for (names, method) in operators.chain([(value.names, value.method)]) {
        if names.bound.get().is_some() {
            continue;
        }
        let number = methods.entry(method).or_default();
        *number += 1;
        let place = match *number {
            1 => format!("{variable}/{method}"),
            number => format!("{variable}/{method} {number}"),
        };
        let is_value = std::ptr::eq(names, value.names);
        let _ = names.bound.set(Bound { place, variable: is_value.then(|| variable.to_string()) });
    }
}

/// Lists the operators built since `mark` that something is made of, each after those that it is made of itself. What
/// is older is made of what is older still.
fn visit(parents: &[Edge], mark: Mark, seen: &mut BTreeSet<u64>, operators: &mut Vec<Arc<dyn AnyNode>>) {
    for Edge { node, .. } in parents {
        if node.names().is_newer(mark) && seen.insert(node.names().built) {
            visit(&node.parents(), mark, seen, operators);
            operators.push(Arc::clone(node));
        }
    }
}
