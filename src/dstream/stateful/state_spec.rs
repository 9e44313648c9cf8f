use std::fmt;
use std::time::Duration;

use super::step::{Change, Taken};
use crate::data::{Data, Exchange, Key, Partitions};
use crate::dataset::{Chunk, Dataset};
use crate::error::Result;
use crate::exec::Runtime;
use crate::state::{KeyState, Migrations, TOGETHER, Table};
use crate::time::Time;

/// What [`map_with_state`](crate::DStream::map_with_state) does: Spark's `StateSpec`.
///
/// A function, and if wanted states to begin with, a number of partitions and a timeout. Each setting takes the place of
/// an earlier one.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidemill::{KeyState, StateSpec, testing::run};
///
/// // The visitors who did not come back for more than two seconds, with the number of their visits.
/// let visits = [vec!["ada", "bob"], vec!["ada"], vec!["ada"], vec!["ada"], vec![]];
/// let left = run(visits, |names| {
///     let spec = StateSpec::function_with_time(|_, name: &String, visit: Option<()>, visits: &mut KeyState<u32>| {
///         match visit {
///             Some(()) => visits.update(visits.get().map_or(1, |before| before + 1)),
///             None => return Some((name.clone(), visits.get().copied())),
///         }
///         None
///     });
///     let spec = spec.initial_state([("ada".to_string(), 100)]).timeout(Duration::from_secs(2));
///     names.map(|name| (name.to_string(), ())).map_with_state(spec).mapped()
/// })?;
/// assert_eq!(left, [vec![], vec![], vec![], vec![("bob".to_string(), Some(1))], vec![]]);
/// # Ok::<(), tidemill::Error>(())
/// ```
#[must_use]
pub struct StateSpec<K, V, S, U> {
    pub(super) function: Function<K, V, S, U>,
    pub(super) initial: Initial<K, S>,
    pub(super) partitions: Option<Partitions>,
    pub(super) timeout: Option<Duration>,
    pub(super) migrations: Migrations<S>,
}

impl<K: Key, V: Exchange, S: Exchange, U: Data> StateSpec<K, V, S, U> {
    /// Calls `f` with the key and the value of each record, and with the state of the key; what it returns is a record of
    /// the new stream. With a [timeout](StateSpec::timeout) it is also called for a key that times out, without a value.
    pub fn function(f: impl Fn(&K, Option<V>, &mut KeyState<'_, S>) -> U + Send + Sync + 'static) -> Self {
        StateSpec::function_with_time(move |_, key, value, state| Some(f(key, value, state)))
    }

    /// As [`function`](StateSpec::function), with the batch time; `None` adds nothing to the new stream.
    pub fn function_with_time(
        f: impl Fn(Time, &K, Option<V>, &mut KeyState<'_, S>) -> Option<U> + Send + Sync + 'static,
    ) -> Self {
        let function = Function(Box::new(OneByOne(f)));
        StateSpec { function, initial: Initial::None, partitions: None, timeout: None, migrations: Migrations::new() }
    }

    /// The states to begin with, for a program that has none from an earlier run. They are in the snapshots, and cause
    /// no calls; a timeout counts from the first batch. Of several states of a key the first counts.
    pub fn initial_state(mut self, states: impl IntoIterator<Item = (K, S)>) -> Self {
        self.initial = Initial::States(states.into_iter().collect());
        self
    }

    /// As [`initial_state`](StateSpec::initial_state), from a dataset, which is computed with the first batch.
    pub fn initial_dataset(mut self, states: &Dataset<(K, S)>) -> Self {
        self.initial = Initial::Dataset(states.clone());
        self
    }

    /// Into how many partitions keys and states go; by default as many as any shuffle.
    pub fn partitions(mut self, partitions: Partitions) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// Takes the state from a key that was idle for longer than this: in the first batch whose time is more than
    /// `idle` after the key's last record or update.
    pub fn timeout(mut self, idle: Duration) -> Self {
        self.timeout = Some(idle);
        self
    }

    /// Says which version of the state this is, from 1 on: count it up when the type of the state changes.
    ///
    /// A program does not start on a checkpoint with states of an older version unless it says what becomes of them
    /// ([`migrate_from`](StateSpec::migrate_from)), and never on one with states of a newer.
    pub fn version(mut self, version: u32) -> Self {
        self.migrations.set_version(version);
        self
    }

    /// Says what becomes of a state that was saved as one of `version`, which were `Old`s. Each older version has its own
    /// function, straight to this one. States are migrated when they are read at the start.
    ///
    /// # Errors
    ///
    /// `start` reports a version that is not below [`version`](StateSpec::version), or has two functions; and an `Old` that is
    /// another type than the checkpoint has. A panic in `migrate` stops the start, and leaves the checkpoint as it is.
    ///
    /// # Examples
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use tidemill::{KeyState, StateSpec};
    ///
    /// #[derive(Clone, Serialize, Deserialize)]
    /// struct Clicks {
    ///     count: u64,
    ///     tags: Vec<String>,
    /// }
    ///
    /// let spec = StateSpec::function(|user: &String, _: Option<u64>, clicks: &mut KeyState<'_, Clicks>| {
    ///     (user.clone(), clicks.get().map_or(0, |clicks| clicks.count))
    /// });
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

    /// As [`migrate_from`](StateSpec::migrate_from), with a function that can fail: then the program does not start, and the
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

impl<K, V, S, U> fmt::Debug for StateSpec<K, V, S, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StateSpec { partitions, timeout, .. } = self;
        f.debug_struct("StateSpec").field("partitions", partitions).field("timeout", timeout).finish_non_exhaustive()
    }
}

/// The states that an operator begins with.
pub(super) enum Initial<K, S> {
    None,
    States(Vec<(K, S)>),
    Dataset(Dataset<(K, S)>),
}

impl<K: Key, S: Exchange> Initial<K, S> {
    /// The states in the partitions where their keys belong.
    #[track_caller]
    pub(super) fn partitioned(self, partitions: Partitions, runtime: &Runtime) -> Option<Dataset<(K, S)>> {
        match self {
            Initial::None => None,
            Initial::States(states) => Some(Dataset::of(vec![states], runtime).partition_by(partitions)),
            Initial::Dataset(states) => Some(states.partition_by(partitions)),
        }
    }
}

/// A function of the program, called for many records at a time: it is compiled into the loop over them.
pub(super) struct Function<K, V, S, U>(Box<dyn Call<K, V, S, U>>);

trait Call<K, V, S, U>: Send + Sync {
    fn records(&self, table: &mut Table<K, S>, time: Time, records: Chunk<'_, (K, V)>, out: &mut Vec<U>);
    fn time_outs(&self, table: &mut Table<K, S>, time: Time, out: &mut Vec<U>);
}

struct OneByOne<F>(F);

impl<K, V, S, U, F> Call<K, V, S, U> for OneByOne<F>
where
    K: Key,
    V: Exchange,
    S: Exchange,
    F: Fn(Time, &K, Option<V>, &mut KeyState<'_, S>) -> Option<U> + Send + Sync,
{
    fn records(&self, table: &mut Table<K, S>, time: Time, records: Chunk<'_, (K, V)>, out: &mut Vec<U>) {
        out.reserve(records.len());
        let mut call = |table: &mut Table<K, S>, id, value| {
            out.extend(table.call(id, |key, state| (self.0)(time, key, Some(value), state)));
        };
        // The keys of many records are looked up at a time, and then their states are at hand.
        match records {
            Chunk::Owned(records) => {
                let mut records = records.drain(..);
                while !records.as_slice().is_empty() {
                    let ids = table.intern_some(records.as_slice());
                    ids.into_iter().zip(records.by_ref()).for_each(|(id, (_, value))| call(table, id, value));
                    table.write_down();
                }
            }
            Chunk::Shared(records) => {
                for records in records.chunks(TOGETHER) {
                    let ids = table.intern_some(records);
                    ids.into_iter().zip(records).for_each(|(id, (_, value))| call(table, id, value.clone()));
                    table.write_down();
                }
            }
        }
    }

    fn time_outs(&self, table: &mut Table<K, S>, time: Time, out: &mut Vec<U>) {
        for id in table.due(time) {
            out.extend(table.time_out(id, |key, state| (self.0)(time, key, None, state)));
        }
    }
}

impl<K: Key, V: Exchange, S: Exchange, U: Data> Change<K, S> for Function<K, V, S, U> {
    type Input = (K, V);
    type Output = U;
    type Scratch = ();

    fn take(&self, table: &mut Table<K, S>, time: Time, records: Chunk<'_, (K, V)>, to: &mut Taken<Self, K, S>) {
        self.0.records(table, time, records, &mut to.out);
    }

    /// Data comes first: a key that has a record in the batch does not time out.
    fn finish(&self, table: &mut Table<K, S>, time: Time, to: &mut Taken<Self, K, S>) {
        self.0.time_outs(table, time, &mut to.out);
    }
}
