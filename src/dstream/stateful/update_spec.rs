use std::fmt;
use std::vec;

use super::state_spec::Initial;
use super::step::{Change, Taken};
use crate::data::{Exchange, Key, Partitions};
use crate::dataset::{Chunk, Dataset};
use crate::error::Result;
use crate::state::{Migrations, Table};
use crate::time::Time;

/// What [`update_state_by_key_with`](crate::DStream::update_state_by_key_with) does: what Spark has overloads of
/// `updateStateByKey` for.
///
/// A function in one of three forms, and if wanted states to begin with and a number of partitions.
///
/// # Examples
///
/// ```
/// use tidemill::{UpdateSpec, testing::run};
///
/// // The time of the last visit, forgotten after two seconds.
/// let visits = [vec![("ada", ())], vec![("bob", ())], vec![], vec![]];
/// let seen = run(visits, |visits| {
///     let spec = UpdateSpec::function_with_time(|time, _: &String, values: Vec<()>, last: Option<i64>| {
///         let now = time.as_millis();
///         if values.is_empty() { last.filter(|last| now - last <= 2000) } else { Some(now) }
///     });
///     let visits = visits.map(|(name, visit)| (name.to_string(), visit));
///     visits.update_state_by_key_with(spec.initial_state([("eve".to_string(), 0)])).map_values(|last| last / 1000)
/// })?;
/// let names: Vec<Vec<(&str, i64)>> = vec![
///     vec![("ada", 1), ("eve", 0)],
///     vec![("ada", 1), ("bob", 2), ("eve", 0)],
///     vec![("ada", 1), ("bob", 2)],
///     vec![("bob", 2)],
/// ];
/// for (mut seen, names) in seen.into_iter().zip(names) {
///     seen.sort();
///     assert!(seen.iter().map(|(name, last)| (&name[..], *last)).eq(names));
/// }
/// # Ok::<(), tidemill::Error>(())
/// ```
#[must_use]
pub struct UpdateSpec<K, V, S> {
    pub(super) function: Function<K, V, S>,
    pub(super) initial: Initial<K, S>,
    pub(super) partitions: Option<Partitions>,
    pub(super) migrations: Migrations<S>,
}

impl<K: Key, V: Exchange, S: Exchange> UpdateSpec<K, V, S> {
    /// Calls `f` for every key with its values of the batch, in the order of the batch, and its state; what it returns is
    /// the new state, `None` removes it.
    pub fn function(f: impl Fn(Vec<V>, Option<S>) -> Option<S> + Send + Sync + 'static) -> Self {
        UpdateSpec::function_with_time(move |_, _, values, state| f(values, state))
    }

    /// As [`function`](UpdateSpec::function), with the batch time and the key.
    pub fn function_with_time(f: impl Fn(Time, &K, Vec<V>, Option<S>) -> Option<S> + Send + Sync + 'static) -> Self {
        UpdateSpec::of(Function::ByKey(Box::new(f)))
    }

    /// Calls `f` once a partition, with all its keys, their values of the batch and their states; what it returns are all
    /// the states of the partition. A key that is left out is removed. Of several states of a key the first counts.
    ///
    /// Keys that belong to another partition must not be returned: `f` is to return keys that it was given.
    pub fn partition_function<I: IntoIterator<Item = (K, S)>>(
        f: impl Fn(vec::IntoIter<(K, Vec<V>, Option<S>)>) -> I + Send + Sync + 'static,
    ) -> Self {
        UpdateSpec::of(Function::ByPartition(Box::new(move |keys| f(keys).into_iter().collect())))
    }

    fn of(function: Function<K, V, S>) -> Self {
        UpdateSpec { function, initial: Initial::None, partitions: None, migrations: Migrations::new() }
    }

    /// The states to begin with, for a program that has none from an earlier run: used in the first batch that the
    /// stream has. Of several states of a key the first counts.
    pub fn initial_state(mut self, states: impl IntoIterator<Item = (K, S)>) -> Self {
        self.initial = Initial::States(states.into_iter().collect());
        self
    }

    /// As [`initial_state`](UpdateSpec::initial_state), from a dataset, which is computed with the first batch.
    pub fn initial_dataset(mut self, states: &Dataset<(K, S)>) -> Self {
        self.initial = Initial::Dataset(states.clone());
        self
    }

    /// Into how many partitions keys and states go; by default as many as any shuffle.
    pub fn partitions(mut self, partitions: Partitions) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// Says which version of the state this is, from 1 on: count it up when the type of the state changes.
    ///
    /// A program does not start on a checkpoint with states of an older version unless it says what becomes of them
    /// ([`migrate_from`](UpdateSpec::migrate_from)), and never on one with states of a newer.
    pub fn version(mut self, version: u32) -> Self {
        self.migrations.set_version(version);
        self
    }

    /// Says what becomes of a state that was saved as one of `version`, which were `Old`s. Each older version has its own
    /// function, straight to this one. States are migrated when they are read at the start.
    ///
    /// # Errors
    ///
    /// `start` reports a version that is not below [`version`](UpdateSpec::version), or has two functions; and an `Old` that is
    /// another type than the checkpoint has. A panic in `migrate` stops the start, and leaves the checkpoint as it is.
    ///
    /// # Examples
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use tidemill::UpdateSpec;
    ///
    /// #[derive(Clone, Serialize, Deserialize)]
    /// struct Clicks {
    ///     count: u64,
    ///     tags: Vec<String>,
    /// }
    ///
    /// let spec = UpdateSpec::<String, u64, Clicks>::function(|_, clicks| clicks);
    /// // Version 1 kept the count alone.
    /// let spec = spec.version(2).migrate_from(1, |count: u64| Clicks { count, tags: Vec::new() });
    /// # let _ = spec;
    /// ```
    pub fn migrate_from<Old: Exchange>(
        mut self,
        version: u32,
        migrate: impl Fn(Old) -> S + Send + Sync + 'static,
    ) -> Self {
        self.migrations.add(version, move |old| Ok(migrate(old)));
        self
    }

    /// As [`migrate_from`](UpdateSpec::migrate_from), with a function that can fail: then the program does not start, and the
    /// checkpoint stays as it is.
    pub fn try_migrate_from<Old: Exchange>(
        mut self,
        version: u32,
        migrate: impl Fn(Old) -> Result<S> + Send + Sync + 'static,
    ) -> Self {
        self.migrations.add(version, migrate);
        self
    }
}

impl<K, V, S> fmt::Debug for UpdateSpec<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpdateSpec").field("partitions", &self.partitions).finish_non_exhaustive()
    }
}

/// A function of the program.
#[expect(clippy::type_complexity, reason = "what a function takes is best read where it stands")]
pub(super) enum Function<K, V, S> {
    ByKey(Box<dyn Fn(Time, &K, Vec<V>, Option<S>) -> Option<S> + Send + Sync>),
    ByPartition(Box<dyn Fn(vec::IntoIter<(K, Vec<V>, Option<S>)>) -> Vec<(K, S)> + Send + Sync>),
}

impl<K: Key, V: Exchange, S: Exchange> Change<K, S> for Function<K, V, S> {
    type Input = (K, Vec<V>);
    type Output = ();
    /// For a function of a partition: the values of the keys that have some.
    type Scratch = Vec<(u32, Vec<V>)>;

    fn take(&self, table: &mut Table<K, S>, time: Time, records: Chunk<'_, (K, Vec<V>)>, to: &mut Taken<Self, K, S>) {
        records.for_each(|(key, values)| {
            let id = table.intern(&key);
            match self {
                Function::ByKey(f) => table.replace(id, |key, state| f(time, key, values, state)),
                Function::ByPartition(_) => to.scratch.push((id, values)),
            }
        });
        table.write_down();
    }

    fn finish(&self, table: &mut Table<K, S>, time: Time, to: &mut Taken<Self, K, S>) {
        match self {
            Function::ByKey(f) => {
                for id in table.untouched() {
                    table.replace(id, |key, state| f(time, key, Vec::new(), state));
                }
            }
            Function::ByPartition(f) => {
                let mut values = std::mem::take(&mut to.scratch);
                values.sort_unstable_by_key(|(id, _)| *id);
                let mut values = values.into_iter().peekable();
                let ids = table.untouched();
                let keys = ids.iter().filter_map(|&id| {
                    let (key, state) = table.get(id)?;
                    let values = values.next_if(|(next, _)| *next == id).map_or_else(Vec::new, |(_, values)| values);
                    Some((key.clone(), values, state.cloned()))
                });
                let keys: Vec<_> = keys.collect();
                for (key, state) in f(keys.into_iter()) {
                    let id = table.intern(&key);
                    if !table.is_done(id) {
                        table.replace(id, |_, _| Some(state));
                    }
                }
                for id in table.untouched() {
                    table.replace(id, |_, _| None);
                }
            }
        }
    }
}
