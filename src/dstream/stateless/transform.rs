use std::time::Duration;

use crate::data::Data;
use crate::dataset::Dataset;
use crate::dstream::{DStream, Edge, Operator};
use crate::error::{Error, ErrorKind, Result, guarded};
use crate::time::Time;

impl<T: Data> DStream<T> {
    /// Replaces the dataset of every batch by what `f` makes of it: the way to use any operation of [`Dataset`] on a
    /// stream, and to look at the batch time.
    ///
    /// `f` runs once a batch, on the thread that plans batches, and builds a recipe; actions inside it hold up the
    /// planning of later batches.
    ///
    /// # Errors
    ///
    /// A batch that the stream does not have is an error, and so is one of `f`; both stop the context.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let stamped = run([vec!["a"], vec!["b"]], |words| {
    ///     words.transform(|dataset, time| Ok(dataset.map(move |word| format!("{word}@{time}"))))
    /// })?;
    /// assert_eq!(stamped, [vec!["a@1000 ms"], vec!["b@2000 ms"]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn transform<U: Data>(
        &self,
        f: impl Fn(Dataset<T>, Time) -> Result<Dataset<U>> + Send + Sync + 'static,
    ) -> DStream<U> {
        self.attach(Transform { parent: self.clone(), f })
    }
}

struct Transform<T, F> {
    parent: DStream<T>,
    f: F,
}

impl<T: Data, U: Data, F> Operator<U> for Transform<T, F>
where
    F: Fn(Dataset<T>, Time) -> Result<Dataset<U>> + Send + Sync + 'static,
{
    fn name(&self) -> &str {
        "transform"
    }

    fn slide(&self) -> Duration {
        self.parent.slide()
    }

    fn parents(&self) -> Vec<Edge> {
        vec![self.parent.edge()]
    }

    fn compute(&self, at: Time) -> Result<Option<Dataset<U>>> {
        let batch = self.parent.expect_at(at, "transform")?;
        guarded(|| (self.f)(batch, at), |said| Error::new(ErrorKind::User, format!("transform panicked: {said}")))
            .map(Some)
    }

    fn runs_user_code(&self) -> bool {
        true
    }
}
