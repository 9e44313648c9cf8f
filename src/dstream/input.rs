use std::mem::take;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::node::Edge;
use super::{DStream, GraphBuilder, Operator};
use crate::data::Data;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::id::StreamId;
use crate::input::{Source, SourceContext};
use crate::listener::InputInfo;
use crate::time::Time;

/// The leaf of the graph: adapts any source.
struct Input<T> {
    name: String,
    slide: Duration,
    source: Arc<Connected<T>>,
}

/// A source and what it said of the batches that were planned since somebody asked.
struct Connected<T> {
    stream: StreamId,
    name: String,
    site: &'static Location<'static>,
    state: Mutex<State<T>>,
}

struct State<T> {
    source: Box<dyn Source<T>>,
    planned: Vec<InputInfo>,
}

/// What can be said of an input whatever its records are.
pub(crate) trait AnyInput: Send + Sync {
    fn start(&self, context: &SourceContext) -> Result<()>;
    fn completed(&self, time: Time) -> Result<()>;
    fn stop(&self, timeout: Duration) -> Result<()>;

    /// What was planned since the last call.
    fn take_planned(&self) -> Vec<InputInfo>;
}

impl<T: Data> DStream<T> {
    /// Adds an input to a graph.
    pub(crate) fn from_source(
        graph: &Arc<GraphBuilder>,
        source: impl Source<T>,
        site: &'static Location<'static>,
    ) -> DStream<T> {
        let name = source.name();
        let state = Mutex::new(State { source: Box::new(source), planned: Vec::new() });
        let source = Arc::new(Connected { stream: graph.next_stream(), name: name.clone(), site, state });
        let operator = Input { name, slide: graph.batch_interval(), source: Arc::clone(&source) };
        let stream = DStream::build(graph, operator, site);
        graph.add_input(source, Arc::clone(&stream.node) as _);
        stream
    }
}

impl<T: Data> Operator<T> for Input<T> {
    fn name(&self) -> &str {
        &self.name
    }

    fn slide(&self) -> Duration {
        self.slide
    }

    fn parents(&self) -> Vec<Edge> {
        Vec::new()
    }

    fn compute(&self, at: Time) -> Result<Option<Dataset<T>>> {
        let input = &self.source;
        let mut state = input.state();
        let batch = state.source.batch(at).map_err(|error| input.blame(error))?;
        Ok(batch.map(|batch| {
            let name = input.name.clone();
            state.planned.push(InputInfo::new(input.stream, name, batch.records, batch.description));
            batch.dataset
        }))
    }
}

impl<T> Connected<T> {
    fn state(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blame(&self, error: Error) -> Error {
        error.within(format!("input {} ({}:{})", self.name, self.site.file(), self.site.line()))
    }
}

impl<T: Data> AnyInput for Connected<T> {
    fn start(&self, context: &SourceContext) -> Result<()> {
        self.state().source.start(context).map_err(|error| self.blame(error))
    }

    fn completed(&self, time: Time) -> Result<()> {
        self.state().source.completed(time).map_err(|error| self.blame(error))
    }

    fn stop(&self, timeout: Duration) -> Result<()> {
        self.state().source.stop(timeout).map_err(|error| self.blame(error))
    }

    fn take_planned(&self) -> Vec<InputInfo> {
        take(&mut self.state().planned)
    }
}
