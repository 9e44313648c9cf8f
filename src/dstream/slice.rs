use crate::data::Data;
use crate::dataset::Dataset;
use crate::dstream::DStream;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::is_task_running;
use crate::time::{Interval, Time};

impl<T: Data> DStream<T> {
    /// Returns the datasets of the batches from `from` to `to`, both ends included, in the order of time.
    ///
    /// To look back: from an output or another thread while the context runs, or from within
    /// [`transform`](DStream::transform). Bounds between two batch times of the stream are moved down to the batch
    /// time before, with a warning in the log. Times up to the zero time have no batch, and neither have those that
    /// are not due yet; Spark asks the inputs for batches ahead of time here. Of a stream that is made of states, or of
    /// windows with an inverse function, a slice has the batches that have ended. `from` after `to` gives nothing.
    ///
    /// The stream has to remember its batches for so long: by itself it does for its slide duration, or for the window
    /// of an operator that reads it, and longer with
    /// [`StreamingContextBuilder::remember`](crate::StreamingContextBuilder::remember).
    ///
    /// # Errors
    ///
    /// A call from within a task (the closure of a `map`, say), a context that has not been started, a stream that no
    /// output is made of, a batch that is forgotten already, and errors in building the datasets.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::{Time, testing::run};
    ///
    /// let so_far = run([vec![1], vec![2], vec![3]], |numbers| {
    ///     let all = numbers.window(numbers.slide_duration() * 10, numbers.slide_duration()); // so that they are remembered
    ///     all.transform_with(&numbers.clone(), move |_, first, time| {
    ///         let earlier = numbers.slice(Time::ZERO, time - numbers.slide_duration())?;
    ///         Ok(earlier.iter().fold(first, |all, dataset| all.union(dataset)))
    ///     })
    /// })?;
    /// assert_eq!(so_far, [vec![1], vec![2, 1], vec![3, 1, 2]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn slice(&self, from: Time, to: Time) -> Result<Vec<Dataset<T>>> {
        let error = |error: Error| error.within_operator(|| self.node.place());
        if is_task_running() {
            // Its batch may be held up by the planning that it would wait for.
            let message = "a slice from within a task: take it where the dataset is made, and use its records here";
            return Err(error(Error::new(ErrorKind::State, message)));
        }
        let planning = self.graph.planning();
        let _guard = planning.enter();
        let Some(zero_time) = self.node.zero_time() else {
            let message = "a slice of a stream before its context was started, or that no output is made of";
            return Err(error(Error::new(ErrorKind::State, message)));
        };
        let slide = self.slide_duration();
        let [begin, end] = [from, to].map(|bound| bound.floor_from(slide, zero_time));
        if (begin, end) != (from, to) {
            tracing::warn!(stream = self.node.name(), %from, %to, %begin, %end, "a slice between two batch times");
        }
        // What is kept from batch to batch would run ahead of the batch that is to be saved.
        let last = if self.node.follows_state() { planning.ended() } else { planning.latest() };
        let end = end.min(last);
        let mut datasets = Vec::new();
        for time in begin.max(zero_time + slide).to(end, slide) {
            if self.node.has_forgotten(time) {
                let message = format!(
                    "a slice from {from} to {to}: the batch at {time} is forgotten; \
                     a longer `remember` of the context keeps it"
                );
                return Err(error(Error::new(ErrorKind::State, message)));
            }
            datasets.extend(self.at(time)?);
        }
        Ok(datasets)
    }

    /// As [`slice`](DStream::slice), from the beginning of an interval to its end, both included: Spark's rule, though
    /// the interval of a window leaves its beginning out.
    ///
    /// # Errors
    ///
    /// As [`slice`](DStream::slice).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill::{Interval, testing::run};
    ///
    /// let second = Duration::from_secs(1); // the batch interval of `run`
    /// let pairs = run([vec![1], vec![2], vec![3]], |numbers| {
    ///     let all = numbers.window(2 * second, second); // so that they are remembered
    ///     all.transform(move |_, time| {
    ///         let last_two = numbers.slice_interval(Interval::new(time - second, time))?;
    ///         last_two.into_iter().reduce(|all, more| all.union(&more)).ok_or_else(|| tidemill::Error::user("none"))
    ///     })
    /// })?;
    /// assert_eq!(pairs, [vec![1], vec![1, 2], vec![2, 3]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn slice_interval(&self, interval: Interval) -> Result<Vec<Dataset<T>>> {
        self.slice(interval.begin(), interval.end())
    }
}
