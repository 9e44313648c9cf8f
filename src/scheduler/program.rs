use std::collections::BTreeMap;
use std::time::Duration;

use crate::checkpoint::{Manifest, Program, Role, SavedOperator, SavedSchema};
use crate::data::KEY_GROUPS;
use crate::dstream::{DStreamGraph, LastingKind};
use crate::time::Time;

/// Describes a program to a checkpoint.
pub(crate) fn describe(app: &str, batch_interval: Duration, zero_time: Time, graph: &DStreamGraph) -> Program {
    let mut program = Program {
        manifest: Manifest {
            app: app.to_string(),
            batch_interval,
            zero_time,
            key_groups: KEY_GROUPS as u32,
            operators: Vec::new(),
        },
        migrations: BTreeMap::new(),
    };
    for operator in graph.lasting_operators() {
        let (role, schema) = match operator.kind {
            LastingKind::Input => (Role::Input, None),
            LastingKind::Output => (Role::Output, None),
            LastingKind::Batches(shape) => {
                let parts = vec![("records".to_string(), shape)];
                (Role::Batches, Some(SavedSchema { method: "checkpoint".to_string(), version: 1, parts }))
            }
            LastingKind::Durable(durable) => {
                program.migrations.insert(operator.id, durable.migrations());
                let schema = durable.schema();
                let parts = schema.parts.into_iter().map(|(part, shape)| (part.to_string(), shape)).collect();
                let (method, version) = (schema.method.to_string(), schema.version);
                (Role::State, Some(SavedSchema { method, version, parts }))
            }
        };
        let (id, name, site) = (operator.id, operator.name, operator.site);
        program.manifest.operators.push(SavedOperator { id, name, site, role, schema });
    }
    program
}
