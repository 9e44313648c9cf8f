use std::fmt::Display;
use std::panic::Location;
use std::path::PathBuf;

use crate::data::{Data, Exchange};
use crate::dataset::Dataset;
use crate::dstream::DStream;
use crate::error::Result;
use crate::storage::Existing;
use crate::time::Time;

impl<T: Data> DStream<T> {
    /// Writes every batch to a directory of text files: an output operation.
    ///
    /// The directory of the batch at 1000 ms is `prefix-1000.suffix`; without a suffix it is `prefix-1000`, without a
    /// prefix `1000.suffix`. The prefix may hold folders, which are created. A batch time that is no whole number of
    /// milliseconds has its microseconds behind them: `prefix-1000_500`. What is in the directory is told at
    /// [`Dataset::save_as_text_file`]; an empty batch has one too.
    ///
    /// A directory is on the disk as a whole before it has its name. If the name is taken, by an earlier run of the
    /// program, the old directory is replaced. One that holds anything but what an output writes is left alone, and is
    /// an error.
    ///
    /// # Errors
    ///
    /// What keeps a file from being written stops the context, as every failing output does; nothing of the batch is
    /// committed. Two outputs of a program with the same prefix and suffix are reported by
    /// [`start`](crate::StreamingContext::start).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill::prelude::*;
    /// use tidemill::{Clock, Event, ManualClock};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let hands = ManualClock::new();
    /// let context = StreamingContext::builder("levels").clock(Clock::manual(&hands)).build()?;
    /// let levels = QueueSource::one_at_a_time();
    /// levels.push([71, 12]);
    /// context.input(levels).save_as_text_files(folder.path().join("level").display().to_string(), "txt");
    ///
    /// let (send, done) = std::sync::mpsc::channel();
    /// context.add_listener(move |event: &Event| {
    ///     if let Event::BatchCompleted(_) = event {
    ///         let _ = send.send(());
    ///     }
    /// });
    /// context.start()?;
    /// hands.advance(Duration::from_secs(1));
    /// done.recv()?;
    /// let lines = context.text_file(folder.path().join("level-1000.txt"));
    /// assert_eq!(lines.collect()?, ["71", "12"]);
    /// context.stop(Stop::Now)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn save_as_text_files(&self, prefix: impl Into<String>, suffix: impl Into<String>)
    where
        T: Display,
    {
        self.save_as_files("save_as_text_files", prefix.into(), suffix.into(), |batch, path| {
            batch.save_text(&path, Existing::Replace)
        });
    }

    /// Writes every batch to a directory of object files, which
    /// [`StreamingContext::object_file`](crate::StreamingContext::object_file) reads: an output operation.
    ///
    /// Names, and what holds when the program dies, are those of [`save_as_text_files`](DStream::save_as_text_files).
    ///
    /// # Errors
    ///
    /// As [`save_as_text_files`](DStream::save_as_text_files).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill::prelude::*;
    /// use tidemill::{Clock, Event, ManualClock};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let prefix = folder.path().join("level").display().to_string();
    /// # let hands = ManualClock::new();
    /// # let context = StreamingContext::builder("levels").clock(Clock::manual(&hands)).build()?;
    /// # let levels = QueueSource::one_at_a_time();
    /// # levels.push([("north", 71), ("south", 12)]);
    /// let levels = context.input(levels).map(|(place, level)| (place.to_string(), level));
    /// levels.save_as_object_files(&prefix, "");
    /// # let (send, done) = std::sync::mpsc::channel();
    /// # context.add_listener(move |event: &Event| {
    /// #     if let Event::BatchCompleted(_) = event {
    /// #         let _ = send.send(());
    /// #     }
    /// # });
    /// # context.start()?;
    /// # hands.advance(Duration::from_secs(1));
    /// # done.recv()?;
    /// // After the batch at 1000 ms:
    /// let levels = context.object_file::<(String, i32)>(format!("{prefix}-1000"));
    /// assert_eq!(levels.values().collect()?, [71, 12]);
    /// # context.stop(Stop::Now)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn save_as_object_files(&self, prefix: impl Into<String>, suffix: impl Into<String>)
    where
        T: Exchange,
    {
        self.save_as_files("save_as_object_files", prefix.into(), suffix.into(), |batch, path| {
            batch.save_objects(&path, Existing::Replace)
        });
    }

    #[track_caller]
    fn save_as_files(
        &self,
        name: &'static str,
        prefix: String,
        suffix: String,
        save: impl Fn(Dataset<T>, PathBuf) -> Result<()> + Send + Sync + 'static,
    ) {
        let example = path_of(&prefix, &suffix, Time::ZERO);
        self.graph.claim_files(&prefix, &suffix, &example, Location::caller());
        self.output(name, move |batch, at| save(batch, path_of(&prefix, &suffix, at.time)));
    }
}

/// Spark's name for the output of a batch. Names sort as their times do.
fn path_of(prefix: &str, suffix: &str, time: Time) -> PathBuf {
    let dash = if prefix.is_empty() { "" } else { "-" };
    let dot = if suffix.is_empty() { "" } else { "." };
    let millis = time.as_millis();
    let micros = match time.as_micros().rem_euclid(1000) {
        0 => String::new(),
        micros => format!("_{micros:03}"),
    };
    PathBuf::from(format!("{prefix}{dash}{millis}{micros}{dot}{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prefix: &str, suffix: &str, micros: i64, expected: &str) {
        assert_eq!(path_of(prefix, suffix, Time::from_micros(micros)), PathBuf::from(expected));
    }

    #[test]
    fn names_are_those_of_spark() {
        check("out/clicks", "txt", 1_000_000, "out/clicks-1000.txt");
        check("clicks", "", 1_000_000, "clicks-1000");
        check("", "txt", 1_000_000, "1000.txt");
        check("", "", 0, "0");
    }

    #[test]
    fn microseconds_have_names_of_their_own_and_in_order() {
        check("clicks", "txt", 1_000_500, "clicks-1000_500.txt");
        check("clicks", "", 1_000_001, "clicks-1000_001");
        for suffix in ["", "txt"] {
            let names: Vec<_> =
                [1000, 1001, 1999, 2000, 2500].map(|n| path_of("a", suffix, Time::from_micros(n))).into();
            assert!(names.is_sorted(), "{names:?}");
        }
    }
}
