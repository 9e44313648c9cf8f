use std::fmt::Display;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use super::{Format, unreadable};
use crate::data::Data;
use crate::dataset::{Dataset, Emitter, Header, ReadPartition};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Runtime;
use crate::storage::{Existing, Part};

impl<T: Data> Dataset<T> {
    /// Writes a directory of text files: a line a record, as `Display` shows it, a file a partition.
    ///
    /// The files are named `part-00000` and so on; empty partitions have one too. Beside them is an empty file
    /// `_SUCCESS`. The directory gets its name when all of it is on the disk: it is never there in part. A record with
    /// a line break in it becomes two lines.
    ///
    /// # Errors
    ///
    /// A path where something is already; whatever keeps a file from being written, with its path. There is no
    /// directory then.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("tides");
    /// context.parallelize(["ebb", "flood", "slack"], 2).save_as_text_file(&path)?;
    /// assert_eq!(std::fs::read_to_string(path.join("part-00000"))?, "ebb\n");
    /// assert_eq!(context.text_file(&path).collect()?, ["ebb", "flood", "slack"]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn save_as_text_file(&self, path: impl AsRef<Path>) -> Result<()>
    where
        T: Display,
    {
        self.save_text(path.as_ref(), Existing::Refuse)
    }

    pub(crate) fn save_text(&self, path: &Path, existing: Existing) -> Result<()>
    where
        T: Display,
    {
        self.save(path, existing, || Lines)
    }
}

impl Dataset<String> {
    /// See [`StreamingContext::text_file`](crate::StreamingContext::text_file).
    #[track_caller]
    pub(crate) fn of_text(path: &Path, runtime: &Runtime) -> Self {
        Dataset::of_files(path, Header::new("text_file"), runtime, TextPart)
    }
}

struct Lines;

impl<T: Display> Format<T> for Lines {
    fn write(&mut self, records: &[T], part: &mut Part) -> Result<()> {
        part.write(|file| records.iter().try_for_each(|record| writeln!(file, "{record}")))
    }

    fn finish(&mut self, _: &mut Part) -> Result<()> {
        Ok(())
    }
}

/// The lines of a file.
struct TextPart(PathBuf);

impl ReadPartition<String> for TextPart {
    fn records(&self) -> Option<u64> {
        None
    }

    fn describe(&self) -> String {
        self.0.display().to_string()
    }

    fn read(&self, out: &mut Emitter<'_, String>) -> Result<()> {
        let lines = BufReader::new(File::open(&self.0).map_err(unreadable)?).lines();
        for (number, line) in lines.enumerate() {
            let line = line.map_err(|error| match error.kind() {
                std::io::ErrorKind::InvalidData => {
                    Error::new(ErrorKind::Codec, format!("line {} is not UTF-8", number + 1)).caused_by(error)
                }
                _ => unreadable(error),
            })?;
            out.emit(line);
            if out.is_done() {
                break;
            }
        }
        Ok(())
    }
}
