//! Operators by the names that programs call them.

use crate::checkpoint::entry::{Manifest, Role, SavedOperator};
use crate::id::OperatorId;

/// The operators of a role, in the order of the program.
pub(in crate::checkpoint) fn of_role(manifest: &Manifest, role: Role) -> impl Iterator<Item = &SavedOperator> {
    manifest.operators.iter().filter(move |operator| operator.role == role)
}

/// Whether an operator has a name, of its own or of a variable.
pub(super) fn is_named(operator: &SavedOperator) -> bool {
    operator.id == OperatorId::of_name(&operator.name, 0)
}

/// Whether `named` has given the name.
pub(super) fn is_given(operator: &SavedOperator) -> bool {
    is_named(operator) && !operator.name.contains('/')
}

/// The operator of this name, or the one whose variable has this name.
pub(in crate::checkpoint) fn called<'o>(operators: &[&'o SavedOperator], name: &str) -> Option<&'o SavedOperator> {
    let exactly = operators.iter().find(|operator| operator.name == name);
    let mut of_variable = operators.iter().filter(|operator| variable(&operator.name) == Some(name));
    match (exactly, of_variable.next(), of_variable.next()) {
        (Some(operator), ..) | (None, Some(operator), None) => Some(operator),
        _ => None,
    }
}

/// The variable that an operator is named after.
fn variable(name: &str) -> Option<&str> {
    name.split_once('/').map(|(variable, _)| variable)
}

/// The name of the variable, if that is enough to tell a state from the others.
pub(in crate::checkpoint) fn short_name(manifest: &Manifest, operator: &SavedOperator) -> String {
    let states: Vec<&SavedOperator> = of_role(manifest, Role::State).collect();
    match variable(&operator.name) {
        Some(variable) if called(&states, variable).is_some_and(|found| found.id == operator.id) => {
            variable.to_string()
        }
        _ => operator.name.clone(),
    }
}
