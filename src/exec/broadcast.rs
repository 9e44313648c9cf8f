use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A value that all tasks read. Spark's broadcast variable. Cloning shares it.
///
/// Made by [`StreamingContext::broadcast`](crate::StreamingContext::broadcast). In one process it is a shared pointer
/// with a number, and costs as much as an `Arc`; between processes it is what would be sent to each of them once. The
/// value is dropped with the last clone: there is nothing to unpersist or destroy. Nothing of it outlives the process.
///
/// # Examples
///
/// ```
/// use std::collections::HashMap;
///
/// # let context = tidemill::StreamingContext::builder("doc").build()?;
/// let names = context.broadcast(HashMap::from([(1, "north"), (2, "south")]));
/// let places = names.clone();
/// let readings = context.parallelize([(1, 71), (2, 12)], 2).map(move |(place, level)| (places[&place], level));
/// assert_eq!(readings.collect()?, [("north", 71), ("south", 12)]);
/// assert_eq!(names.len(), 2);
/// # Ok::<(), tidemill::Error>(())
/// ```
pub struct Broadcast<T> {
    id: u64,
    value: Arc<T>,
}

impl<T> Broadcast<T> {
    pub(crate) fn new(id: u64, value: T) -> Self {
        Broadcast { id, value: Arc::new(value) }
    }

    /// The value. The same as dereferencing.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Its place among the broadcasts of the context, from 0: the same in every process of a program.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl<T> Clone for Broadcast<T> {
    fn clone(&self) -> Self {
        Broadcast { id: self.id, value: Arc::clone(&self.value) }
    }
}

impl<T> Deref for Broadcast<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Broadcast<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broadcast({}, {:?})", self.id, self.value)
    }
}
