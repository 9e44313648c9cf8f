use std::collections::BTreeMap;

use super::recovery::Setting;
use crate::checkpoint::{Manifest, Program, Role, SavedOperator, SavedSchema};
use crate::data::KEY_GROUPS;
use crate::dstream::{DStreamGraph, Part, PartRole};
use crate::state::Schema;
use crate::time::Time;

/// Describes a program to a checkpoint.
pub(super) fn describe(graph: &DStreamGraph, setting: &Setting, zero_time: Time) -> Program {
    let (mut operators, mut migrations, mut panes) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for Part { id, name, site, role } in graph.parts(setting.remember) {
        let (role, schema) = match role {
            PartRole::Input(kind) => (Role::Input, Some(unversioned(kind, Vec::new()))),
            PartRole::Output(method, equals) => {
                (Role::Output, Some(unversioned(method, vec![("equals".to_string(), equals.to_string())])))
            }
            PartRole::Batches(shape) => {
                (Role::Batches, Some(unversioned("checkpoint".to_string(), vec![("records".to_string(), shape)])))
            }
            PartRole::State(durable, part) => {
                panes.extend(part.map(|part| (id, part)));
                migrations.insert(id, durable.migrations());
                (Role::State, Some(saved_schema(durable.schema())))
            }
        };
        operators.push(SavedOperator { id, name, site: format!("{}:{}", site.file(), site.line()), role, schema });
    }
    let manifest = Manifest {
        app: setting.app_name.clone(),
        batch_interval: setting.batch_interval,
        zero_time,
        key_groups: KEY_GROUPS as u32,
        operators,
    };
    Program { manifest, migrations, panes }
}

fn unversioned(method: String, parts: Vec<(String, String)>) -> SavedSchema {
    SavedSchema { method, version: 1, parts }
}

fn saved_schema(Schema { method, version, parts }: Schema) -> SavedSchema {
    let parts = parts.into_iter().map(|(part, shape)| (part.to_string(), shape)).collect();
    SavedSchema { method: method.to_string(), version, parts }
}
