//! The one error type. It knows no other room: foreign errors are boxed where they occur.

use std::error::Error as StdError;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, to match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The graph of streams was built in a way that cannot run.
    Graph,
    /// A setting has a value that cannot be used.
    Config,
    /// The context was asked for something its state does not allow.
    State,
    /// An input could not plan or deliver its records.
    Input,
    /// A task failed in all its attempts.
    Task,
    /// An output operation failed.
    Output,
    /// A checkpoint could not be written, read or used, or belongs to another process.
    Checkpoint,
    /// Bytes could not be encoded or decoded.
    Codec,
    /// Something took longer than it was allowed to.
    Timeout,
    /// An error of the program, returned from one of its closures.
    User,
    /// A thread of the engine failed: a bug of this crate.
    Internal,
}

/// An error that says what failed, where, and why.
///
/// `Display` is one line: the places it passed on its way up (outermost first), then what happened. The causes
/// follow through [`std::error::Error::source`], and `Debug` prints all of it.
///
/// Cloning is cheap: the context keeps its error and returns it to each caller that asks.
///
/// # Examples
///
/// ```
/// use tidemill::{Error, ErrorKind};
///
/// let cause = "x7".parse::<u32>().unwrap_err();
/// let error = Error::new(ErrorKind::User, "the field `age` is no number").caused_by(cause).within("batch 1000 ms");
/// assert_eq!(error.to_string(), "batch 1000 ms: the field `age` is no number");
/// assert_eq!(error.kind(), ErrorKind::User);
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    /// Innermost first.
    places: Vec<String>,
    /// Whether one of the places is an operator.
    has_operator: bool,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Creates an error of a kind, with a message for people.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Arc::new(Inner { kind, message: message.into(), places: Vec::new(), has_operator: false, cause: None }))
    }

    /// Wraps an error of the program, to be returned with `?` from a fallible closure.
    pub fn user(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let cause: Box<dyn StdError + Send + Sync> = cause.into();
        Error::new(ErrorKind::User, cause.to_string()).caused_by_arc(cause.source().map(|source| source.to_string()))
    }

    /// Keeps the error that led to this one.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Arc::make_mut(&mut self.0).cause = Some(Arc::from(cause.into()));
        self
    }

    fn caused_by_arc(self, cause: Option<String>) -> Self {
        match cause {
            Some(text) => self.caused_by(text),
            None => self,
        }
    }

    /// Names one more place that the error passed: the batch, the operator, the partition.
    #[must_use]
    pub fn within(mut self, place: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).places.push(place.into());
        self
    }

    /// Names the operator it happened in. An error passes the operators that read this one too; they stay unnamed.
    #[must_use]
    pub(crate) fn within_operator(mut self, place: impl FnOnce() -> String) -> Self {
        if self.0.has_operator {
            return self;
        }
        Arc::make_mut(&mut self.0).has_operator = true;
        self.within(place())
    }

    /// Whether one of the places is an operator.
    pub(crate) fn names_operator(&self) -> bool {
        self.0.has_operator
    }

    /// What went wrong, to match on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in self.0.places.iter().rev() {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, "\n  caused by: {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::user(error)
    }
}

/// Whom a thread of the engine tells that it failed. The first error stops the context.
pub(crate) type OnError = Arc<dyn Fn(Error) + Send + Sync>;

/// Runs a closure of the program on a thread of the engine: a panic becomes the error that `describe` makes of what it
/// said.
pub(crate) fn guarded<R>(body: impl FnOnce() -> Result<R>, describe: impl FnOnce(&str) -> Error) -> Result<R> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(describe(panic_message(panic.as_ref()))))
}

/// What a panic said, when it said it in text.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "a value that is no text"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_and_the_causes_follow() {
        let error = Error::new(ErrorKind::Input, "offsets 3..9 no longer exist")
            .caused_by("the broker said so")
            .within("topic lines/2")
            .within("batch 5000 ms");
        assert_eq!(error.to_string(), "batch 5000 ms: topic lines/2: offsets 3..9 no longer exist");
        assert_eq!(
            format!("{error:?}"),
            "batch 5000 ms: topic lines/2: offsets 3..9 no longer exist\n  caused by: the broker said so"
        );
    }

    #[test]
    fn a_clone_keeps_its_own_places() {
        let first = Error::new(ErrorKind::Task, "failed");
        let second = first.clone().within("partition 1");
        assert_eq!(first.to_string(), "failed");
        assert_eq!(second.to_string(), "partition 1: failed");
    }

    #[test]
    fn the_innermost_operator_is_named() {
        let error =
            Error::new(ErrorKind::User, "no").within_operator(|| "operator map".to_string()).within("batch 1 ms");
        let error = error.within_operator(|| "operator window".to_string());
        assert_eq!(error.to_string(), "batch 1 ms: operator map: no");
    }
}
