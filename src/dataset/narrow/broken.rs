use std::marker::PhantomData;

use crate::data::Data;
use crate::dataset::{AnyLineage, Dataset, Flow, Header, Lineage, Sink};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Runtime, TaskContext};

impl<T: Data> Dataset<T> {
    /// The dataset of an operation that was called with something it cannot do: every action on it says so. Operations
    /// build recipes and stay free of `?`.
    pub(in crate::dataset) fn broken<U: Data>(&self, header: Header, mistake: impl Into<String>) -> Dataset<U> {
        Dataset::failing(header, Error::new(ErrorKind::Graph, mistake), self.runtime())
    }

    /// The dataset of a source that is not there: every action says so.
    pub(crate) fn failing(header: Header, error: Error, runtime: &Runtime) -> Self {
        Dataset::new(Broken { header, error, record: PhantomData }, runtime)
    }
}

struct Broken<U> {
    header: Header,
    error: Error,
    record: PhantomData<fn() -> U>,
}

impl<U> Broken<U> {
    fn error(&self) -> Error {
        self.error.clone().within_operator(|| self.header.origin().to_string())
    }
}

impl<U: Data> Lineage<U> for Broken<U> {
    fn compute<'t>(&'t self, _: usize, _: &TaskContext<'t>, _: &mut dyn Sink<U>) -> Result<Flow> {
        Err(self.error())
    }
}

impl<U: Data> AnyLineage for Broken<U> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn partitions(&self) -> usize {
        1
    }

    fn records(&self) -> Option<u64> {
        Some(0)
    }

    fn parents(&self, _: &mut dyn FnMut(&dyn AnyLineage)) {}

    /// Before any task runs, so that nothing is tried again.
    fn prepare(&self) -> Result<()> {
        Err(self.error())
    }
}
