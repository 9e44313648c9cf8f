use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::kept::Kept;
use super::state_spec::{Function, StateSpec};
use super::step::{AllStates, Outputs, Stateful};
use crate::data::{Data, Exchange, Key, Partitions};
use crate::dataset::{Dataset, Lineage};
use crate::dstream::{AsDStream, BatchFormat, DStream, Edge, Operator};
use crate::error::{Error, ErrorKind, Result};
use crate::state::{Durable, StateInfo};
use crate::time::Time;

const METHOD: &str = "map_with_state";

impl<K: Data, V: Data> DStream<(K, V)> {
    /// Calls a function for every record, with the state of its key, which the function may read, change and remove.
    /// What it returns makes the new stream. Spark's `mapWithState`; [`StateSpec`] says how.
    ///
    /// The records of a key come in the order of the batch, those of a partition in its order; then come the keys that
    /// time out, if there is a timeout. Where the stream has no batch, this one has one all the same.
    ///
    /// The cost of a batch follows its records and what times out, and not the number of keys. States stay in memory:
    /// for a key and a state of a few bytes it is 30 to 60 bytes a key, without what they have on the heap
    /// ([`state_info`](DStream::state_info) says how much). The function is called once for a record of a batch, however
    /// many outputs read the stream; only where a task fails and is tried again, all calls of its partition are made
    /// again, on the states from before the batch. What comes out stays in memory until the batch is done.
    ///
    /// # Errors
    ///
    /// Batches have to be computed in order: with `concurrent_jobs` other than 1 the context does not start.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::{KeyState, StateSpec, testing::run};
    ///
    /// let words = [vec!["ebb"], vec!["ebb", "tide"], vec![], vec!["ebb"]];
    /// let counts = run(words, |words| {
    ///     let count = |word: &String, one: Option<u64>, sum: &mut KeyState<u64>| {
    ///         let count = sum.get().unwrap_or(&0) + one.unwrap_or(0);
    ///         sum.update(count);
    ///         (word.clone(), count)
    ///     };
    ///     words.map(|word| (word.to_string(), 1)).map_with_state(StateSpec::function(count)).mapped()
    /// })?;
    /// let count = |word: &str, count| (word.to_string(), count);
    /// assert_eq!(counts[0], [count("ebb", 1)]);
    /// assert!(counts[1].contains(&count("ebb", 2)) && counts[1].contains(&count("tide", 1)));
    /// assert_eq!(counts[2..], [vec![], vec![count("ebb", 3)]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn map_with_state<S: Exchange, U: Data>(&self, spec: StateSpec<K, V, S, U>) -> MapWithState<K, S, U>
    where
        K: Key,
        V: Exchange,
    {
        let StateSpec { function, initial, partitions, timeout, migrations } = spec;
        let partitions = partitions.unwrap_or_else(|| self.runtime().default_partitions());
        self.check_partitions(partitions);
        self.check_migrations(&migrations);
        let initial = initial.partitioned(partitions, self.runtime());
        let stateful = Stateful::new(METHOD, Kept::new(METHOD, migrations, partitions, timeout), function, initial);
        let states = Arc::clone(&stateful);
        MapWithState {
            mapped: self.attach(Mapping { parent: self.clone(), stateful, partitions }),
            states: Arc::new(move |time| {
                let Some(time) = time else {
                    states.will_be_read();
                    return None;
                };
                Some(Arc::new(AllStates::of_other("state_snapshots", states.planned(time)?)))
            }),
            partitions,
        }
    }
}

type Mapped<K, V, S, U> = Stateful<K, S, Function<K, V, S, U>>;

struct Mapping<K: Key, V: Exchange, S: Exchange, U: Data> {
    parent: DStream<(K, V)>,
    stateful: Arc<Mapped<K, V, S, U>>,
    partitions: Partitions,
}

impl<K: Key, V: Exchange, S: Exchange, U: Data> Operator<U> for Mapping<K, V, S, U> {
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

    fn automatic_checkpoint(&self) -> Duration {
        10 * self.slide()
    }

    fn compute(&self, at: Time) -> Result<Option<Dataset<U>>> {
        let input = self.parent.at(at)?.map(|batch| batch.partition_by(self.partitions));
        let step = self.stateful.step(at, input);
        Ok(step.map(|step| Dataset::new(Outputs(step), self.parent.runtime())))
    }
}

/// What finds all the states as a batch has left them, if it was planned and is not forgotten. Asked for no batch, it
/// hears that somebody will ask.
type FindStates<K, S> = Arc<dyn Fn(Option<Time>) -> Option<Arc<dyn Lineage<(K, S)>>> + Send + Sync>;

/// The stream that [`map_with_state`](DStream::map_with_state) makes: a [`DStream`] of what the function returned, which
/// also gives the states. Spark's `MapWithStateDStream`.
///
/// It derefs to the stream: all operators of [`DStream`] are at hand.
pub struct MapWithState<K, S, U> {
    mapped: DStream<U>,
    states: FindStates<K, S>,
    partitions: Partitions,
}

impl<K: Key, S: Exchange, U: Data> MapWithState<K, S, U> {
    /// The stream of what the function returned.
    pub fn mapped(&self) -> DStream<U> {
        self.mapped.clone()
    }

    /// A stream of all keys with their states, as every batch leaves them. Keys are in no particular (but in each run the
    /// same) order, in the partitions of the state.
    ///
    /// Each batch copies all states once for each output that reads them. As with any stream,
    /// [`persist`](DStream::persist) keeps them, for what may ask again when the next batch has been computed.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::{KeyState, StateSpec, testing::run};
    ///
    /// let snapshots = run([vec![(7, 1)], vec![(7, 2)], vec![]], |pairs| {
    ///     let add = |_: &u32, value: Option<u32>, sum: &mut KeyState<u32>| {
    ///         sum.update(sum.get().unwrap_or(&0) + value.unwrap_or(0));
    ///     };
    ///     pairs.map_with_state(StateSpec::function(add)).state_snapshots()
    /// })?;
    /// assert_eq!(snapshots, [vec![(7, 1)], vec![(7, 3)], vec![(7, 3)]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn state_snapshots(&self) -> DStream<(K, S)> {
        let _ = (self.states)(None);
        let format = BatchFormat::pairs(self.partitions);
        let snapshots = Snapshots { mapped: self.mapped.clone(), states: Arc::clone(&self.states), format };
        DStream::build(&self.mapped.graph, Box::new(snapshots), Location::caller())
    }

    /// As [`DStream::named`]: the name of the stream, by which its state is found after a restart.
    #[must_use]
    #[track_caller]
    pub fn named(&self, name: impl Into<String>) -> Self {
        MapWithState { mapped: self.mapped.named(name), ..self.clone() }
    }
}

impl<K, S, U> Clone for MapWithState<K, S, U> {
    fn clone(&self) -> Self {
        MapWithState { mapped: self.mapped.clone(), states: Arc::clone(&self.states), partitions: self.partitions }
    }
}

impl<K, S, U> Deref for MapWithState<K, S, U> {
    type Target = DStream<U>;

    fn deref(&self) -> &DStream<U> {
        &self.mapped
    }
}

impl<K, S, U: Data> AsDStream for MapWithState<K, S, U> {
    type Record = U;

    fn to_dstream(&self) -> DStream<U> {
        self.mapped.clone()
    }
}

impl<K, S, U: Data> fmt::Debug for MapWithState<K, S, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mapped.fmt(f)
    }
}

struct Snapshots<K, S, U> {
    mapped: DStream<U>,
    states: FindStates<K, S>,
    format: BatchFormat<(K, S)>,
}

impl<K: Key, S: Exchange, U: Data> Operator<(K, S)> for Snapshots<K, S, U> {
    fn name(&self) -> &str {
        "state_snapshots"
    }

    fn slide(&self) -> Duration {
        self.mapped.slide_duration()
    }

    fn parents(&self) -> Vec<Edge> {
        vec![self.mapped.edge()]
    }

    fn needs_order(&self) -> bool {
        true
    }

    fn batch_format(&self) -> Option<&BatchFormat<(K, S)>> {
        Some(&self.format)
    }

    fn compute(&self, at: Time) -> Result<Option<Dataset<(K, S)>>> {
        if self.mapped.at(at)?.is_none() {
            return Ok(None);
        }
        let states = (self.states)(Some(at)).ok_or_else(|| {
            let message = format!("the states of the batch at {at} are forgotten: persist the stream of the snapshots");
            Error::new(ErrorKind::State, message)
        })?;
        Ok(Some(Dataset::shared(states, self.mapped.runtime())))
    }
}
