use std::borrow::Borrow;
use std::fmt;
use std::io::Write;
use std::panic::Location;

/// Why there is no broker, or why it did not do what it was asked for.
#[derive(Clone, Debug)]
pub enum Error {
    /// Something that a broker needs cannot be had on this machine.
    Missing(String),
    /// All is there, and it does not work.
    Failed(String),
}

/// What may fail with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Missing(what) | Error::Failed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

/// The broker for a test. `None` if it cannot be had here: the test returns, and standard error says, past the harness,
/// which test did not run and what is missing.
///
/// For a broker that several tests share; [`Builder::or_skip`](crate::Builder::or_skip) is shorter for one's own.
///
/// # Panics
///
/// If something is missing and the environment says `CI=true`; and if the broker does not start.
#[track_caller]
pub fn or_skip<K>(started: Result<K, impl Borrow<Error>>) -> Option<K> {
    let error = match started {
        Ok(kafka) => return Some(kafka),
        Err(error) => error,
    };
    let skipped = matches!(error.borrow(), Error::Missing(_)) && std::env::var("CI").as_deref() != Ok("true");
    assert!(skipped, "no Apache Kafka: {}", error.borrow());
    let test = std::thread::current();
    let (test, place) = (test.name().unwrap_or("a test"), Location::caller());
    // The harness keeps what goes through `eprintln!` of a test that succeeds to itself.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test} ({place}): {}", error.borrow());
    None
}
