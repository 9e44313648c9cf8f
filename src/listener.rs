//! What happened, as plain data, and who wants to know. Knows nothing of who reports.

mod bus;
mod event;

pub(crate) use bus::ListenerBus;
pub use event::{BatchInfo, Event, InputInfo, OutputInfo};

/// Is told what happens in a context, in order, on a thread of its own.
///
/// Closures that take an [`Event`] are listeners. A listener that is slower than the events come misses some: they
/// are dropped, counted and reported once the queue has filled up, and never hold up a batch.
///
/// # Examples
///
/// ```
/// use tidemill::{BatchInfo, Event, Listener, StreamingContext};
///
/// /// Keeps the slowest batch.
/// #[derive(Default)]
/// struct Slowest(Option<BatchInfo>);
///
/// impl Listener for Slowest {
///     fn on_event(&mut self, event: &Event) {
///         if let Event::BatchCompleted(batch) = event {
///             let slowest = self.0.as_ref().and_then(BatchInfo::total_delay);
///             if batch.total_delay() > slowest {
///                 self.0 = Some(batch.clone());
///             }
///         }
///     }
/// }
///
/// let context = StreamingContext::builder("slow").build()?;
/// context.add_listener(Slowest::default());
/// # Ok::<(), tidemill::Error>(())
/// ```
pub trait Listener: Send + 'static {
    /// Learns of an event.
    fn on_event(&mut self, event: &Event);
}

impl<F: FnMut(&Event) + Send + 'static> Listener for F {
    fn on_event(&mut self, event: &Event) {
        self(event);
    }
}
