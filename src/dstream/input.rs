use std::mem::take;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::node::Edge;
use super::{DStream, GraphBuilder, Operator};
use crate::data::Data;
use crate::dataset::Dataset;
use crate::error::{Error, ErrorKind, Result, guarded};
use crate::id::StreamId;
use crate::input::{ContextOf, Source};
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
    /// Whether the source has something to let go of.
    started: bool,
    /// The last batch time that the source was asked for: it is asked once, also where it has no batch.
    asked_up_to: Option<Time>,
    planned: Vec<InputInfo>,
}

/// What can be said of an input whatever its records are.
pub(crate) trait AnyInput: Send + Sync {
    fn start(&self, context_of: ContextOf) -> Result<()>;
    fn completed(&self, time: Time) -> Result<()>;

    /// Stops the source if it was started.
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
        let state = State { source: Box::new(source), started: false, asked_up_to: None, planned: Vec::new() };
        let state = Mutex::new(state);
        let source = Arc::new(Connected { stream: graph.next_stream(), name: name.clone(), site, state });
        let operator = Input { name, slide: graph.batch_interval(), source: Arc::clone(&source) };
        let stream = DStream::build(graph, Box::new(operator), site);
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
        input.ask("batch", |state| {
            if state.asked_up_to.is_some_and(|asked| at <= asked) {
                return Ok(None);
            }
            state.asked_up_to = Some(at);
            let Some(batch) = state.source.batch(at)? else { return Ok(None) };
            let info = InputInfo::new(input.stream, input.name.clone(), batch.records, batch.description);
            state.planned.push(info);
            Ok(Some(batch.dataset))
        })
    }
}

impl<T> Connected<T> {
    fn state(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a method of the source: an error or a panic comes back with the name of the input and the line that made
    /// it.
    fn ask<R>(&self, method: &str, call: impl FnOnce(&mut State<T>) -> Result<R>) -> Result<R> {
        let mut state = self.state();
        let outcome = guarded(
            || call(&mut state),
            |said| Error::new(ErrorKind::Input, format!("its method `{method}` panicked: {said}")),
        );
        let place = || format!("input {} ({}:{})", self.name, self.site.file(), self.site.line());
        outcome.map_err(|error| error.within_operator(place))
    }
}

impl<T: Data> AnyInput for Connected<T> {
    fn start(&self, context_of: ContextOf) -> Result<()> {
        self.ask("start", |state| {
            state.source.start(&context_of(self.stream, &self.name)?)?;
            state.started = true;
            Ok(())
        })
    }

    fn completed(&self, time: Time) -> Result<()> {
        self.ask("completed", |state| state.source.completed(time))
    }

    fn stop(&self, timeout: Duration) -> Result<()> {
        self.ask("stop", |state| if state.started { state.source.stop(timeout) } else { Ok(()) })
    }

    fn take_planned(&self) -> Vec<InputInfo> {
        take(&mut self.state().planned)
    }
}
