use std::sync::Arc;
use std::time::Duration;

use super::kept::Kept;
use super::step::{AllStates, Stateful};
use super::update_spec::{Function, UpdateSpec};
use crate::data::{Data, Exchange, Key, Partitions};
use crate::dataset::Dataset;
use crate::dstream::{BatchFormat, DStream, Edge, Operator};
use crate::error::Result;
use crate::state::{Durable, StateInfo};
use crate::time::Time;

const METHOD: &str = "update_state_by_key";

impl<K: Data, V: Data> DStream<(K, V)> {
    /// Keeps a state for each key and emits all of them every batch. `f` is called for every key that has values in the
    /// batch or a state: with the values, in the order of the batch, and the state. What it returns is the new state;
    /// `None` removes it.
    ///
    /// Where the stream has no batch, `f` is called for all keys without values; before the stream has had its first
    /// batch there is none here either.
    ///
    /// Every batch costs a call and a copy of the state for every key there is: where few keys have values in a batch,
    /// [`map_with_state`](DStream::map_with_state) is faster by far. States stay in memory, twice while a batch runs, as
    /// do those that the batch emits.
    ///
    /// # Errors
    ///
    /// Batches have to be computed in order: with `concurrent_jobs` other than 1 the context does not start.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let sums = run([vec![(7, 1), (7, 2)], vec![], vec![(7, 3)]], |pairs| {
    ///     pairs.update_state_by_key(|values, sum| Some(sum.unwrap_or(0) + values.iter().sum::<i32>()))
    /// })?;
    /// assert_eq!(sums, [vec![(7, 3)], vec![(7, 3)], vec![(7, 6)]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn update_state_by_key<S: Exchange>(
        &self,
        f: impl Fn(Vec<V>, Option<S>) -> Option<S> + Send + Sync + 'static,
    ) -> DStream<(K, S)>
    where
        K: Key,
        V: Exchange,
    {
        self.update_state_by_key_with(UpdateSpec::function(f))
    }

    /// As [`update_state_by_key`](DStream::update_state_by_key), with a function that gets the time and the key or a
    /// whole partition, with states to begin with, into so many partitions: [`UpdateSpec`] says it.
    ///
    /// # Errors
    ///
    /// As [`update_state_by_key`](DStream::update_state_by_key).
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::{Partitions, UpdateSpec, testing::run};
    ///
    /// let sums = run([vec![(7, 1)], vec![(7, 2)]], |pairs| {
    ///     let spec = UpdateSpec::partition_function(|keys| {
    ///         keys.map(|(key, values, sum): (_, Vec<i32>, Option<i32>)| {
    ///             (key, sum.unwrap_or(0) + values.into_iter().sum::<i32>())
    ///         })
    ///     });
    ///     pairs.update_state_by_key_with(spec.initial_state([(7, 100)]).partitions(Partitions::new(3)))
    /// })?;
    /// assert_eq!(sums, [vec![(7, 101)], vec![(7, 103)]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn update_state_by_key_with<S: Exchange>(&self, spec: UpdateSpec<K, V, S>) -> DStream<(K, S)>
    where
        K: Key,
        V: Exchange,
    {
        let UpdateSpec { function, initial, partitions, migrations } = spec;
        let partitions = partitions.unwrap_or_else(|| self.runtime().default_partitions());
        self.check_partitions(partitions);
        self.check_migrations(&migrations);
        let initial = initial.partitioned(partitions, self.runtime());
        let stateful = Stateful::new(METHOD, Kept::new(METHOD, migrations, partitions, None), function, initial);
        stateful.will_be_read();
        self.attach(Update { parent: self.clone(), stateful, partitions, format: BatchFormat::pairs(partitions) })
    }
}

struct Update<K: Key, V: Exchange, S: Exchange> {
    parent: DStream<(K, V)>,
    stateful: Arc<Stateful<K, S, Function<K, V, S>>>,
    partitions: Partitions,
    format: BatchFormat<(K, S)>,
}

impl<K: Key, V: Exchange, S: Exchange> Operator<(K, S)> for Update<K, V, S> {
    fn name(&self) -> &str {
        METHOD
    }

    fn slide(&self) -> Duration {
        self.parent.slide_duration()
    }

    fn parents(&self) -> Vec<Edge> {
        vec![self.parent.edge()]
    }

    fn needs_order(&self) -> bool {
        true
    }

    fn durable(&self) -> Option<Arc<dyn Durable>> {
        Some(Arc::clone(&self.stateful.kept) as Arc<dyn Durable>)
    }

    fn state_info(&self) -> Option<StateInfo> {
        Some(self.stateful.kept.info())
    }

    fn batch_format(&self) -> Option<&BatchFormat<(K, S)>> {
        Some(&self.format)
    }

    fn compute(&self, at: Time) -> Result<Option<Dataset<(K, S)>>> {
        let batch = self.parent.at(at)?;
        if batch.is_none() && !self.stateful.has_begun_before(at) {
            return Ok(None);
        }
        let input = batch.map(|batch| batch.group_by_key_with(self.partitions));
        let step = self.stateful.step(at, input);
        Ok(Some(Dataset::new(AllStates::of_operator(step), self.parent.runtime())))
    }
}
