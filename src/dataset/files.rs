//! Datasets as directories of files, a file a partition, and back.

mod object;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use super::lineage::Lineage;
use super::{Chunk, Dataset, Flow, Header, ReadPartition};
use crate::data::Data;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Runtime;
use crate::storage::{Draft, Existing, Part, is_hidden};

/// How the records of a partition lie in its file.
trait Format<T> {
    /// Takes records to be written.
    fn write(&mut self, records: &[T], part: &mut Part) -> Result<()>;

    /// Writes what comes after the last record.
    fn finish(&mut self, part: &mut Part) -> Result<()>;
}

impl<T: Data> Dataset<T> {
    /// Writes a directory: `part-00000` and so on, a file a partition, and `_SUCCESS`.
    fn save<F: Format<T>>(&self, path: &Path, existing: Existing, format: impl Fn() -> F + Sync) -> Result<()> {
        let draft = Draft::begin(path, existing)?;
        self.run(|lineage: &dyn Lineage<T>, partition, task| {
            let mut part = draft.part(partition)?;
            let mut format = format();
            let _ = lineage.compute(partition, task, &mut |chunk: Chunk<'_, T>| {
                format.write(chunk.as_slice(), &mut part)?;
                Ok(Flow::Continue(()))
            })?;
            format.finish(&mut part)?;
            part.finish()
        })?;
        draft.finish()
    }

    /// A dataset of what is in a file, or in the files of a directory, in the order of their names.
    fn of_files<P: ReadPartition<T>>(
        path: &Path,
        header: Header,
        runtime: &Runtime,
        part: impl Fn(PathBuf) -> P,
    ) -> Self {
        match data_files(path) {
            Ok(files) => Dataset::read_as(header, files.into_iter().map(part).collect(), (), runtime),
            Err(error) => {
                let message = format!("{} cannot be read: {error}", path.display());
                Dataset::failing(header, Error::new(ErrorKind::Input, message).caused_by(error), runtime)
            }
        }
    }
}

/// The file itself, or the files of a directory that hold records, in the order of their names.
fn data_files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // A link to a file is one too.
        if !is_hidden(&entry.file_name()) && fs::metadata(entry.path())?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// An error in reading a file. The name of the file is added by whoever reads it.
fn unreadable(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Input, format!("cannot be read: {error}")).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::StreamingContext;
    use crate::data::Exchange;
    use std::fmt::Debug;
    use tempfile::tempdir;

    fn context() -> StreamingContext {
        StreamingContext::builder("files").workers(2).max_task_attempts(2).build().unwrap()
    }

    #[track_caller]
    fn check_objects<T: Exchange + PartialEq + Debug>(records: Vec<T>) {
        let (context, folder) = (context(), tempdir().unwrap());
        for partitions in [1, 3, 7] {
            let path = folder.path().join(partitions.to_string());
            let dataset = context.parallelize(records.clone(), partitions);
            dataset.save_as_object_file(&path).unwrap();
            let back = context.object_file::<T>(&path);
            assert_eq!(back.collect_partitions().unwrap(), dataset.collect_partitions().unwrap());
        }
    }

    #[test]
    fn objects_come_back_in_their_partitions() {
        check_objects::<i32>(vec![]);
        check_objects(vec![7]);
        check_objects((0..20_000).map(|n| (format!("key {}", n % 100), n, Some(vec![n as u8; n % 9]))).collect());
        check_objects(vec![(); 100_000]);
        check_objects(vec!["line\nbreak".to_string(), "x".repeat(200_000), String::new()]);
    }

    #[test]
    fn text_comes_back_line_by_line() {
        let (context, folder) = (context(), tempdir().unwrap());
        let path = folder.path().join("text");
        context.parallelize(["ebb", "two\nlines", "", "ü"], 2).save_as_text_file(&path).unwrap();
        let lines = context.text_file(&path).collect_partitions().unwrap();
        assert_eq!(lines, [vec!["ebb", "two", "lines"], vec!["", "ü"]]);
        assert_eq!(context.text_file(path.join("part-00001")).collect().unwrap(), ["", "ü"], "a single file");
        assert_eq!(context.text_file(&path).take(2).unwrap(), ["ebb", "two"]);
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let (context, folder) = (context(), tempdir().unwrap());
        let lines = context.text_file(folder.path().join("nothing"));
        let error = lines.map(|line| line.len()).count().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains("operator text_file (src/dataset/files.rs:"), "{error}");
        assert!(error.to_string().contains("nothing cannot be read: No such file"), "{error}");

        fs::write(folder.path().join("part"), b"good\n\xff\n").unwrap();
        let error = context.text_file(folder.path()).collect().unwrap_err();
        assert!(error.to_string().contains("part: line 2 is not UTF-8"), "{error}");
        fs::remove_file(folder.path().join("part")).unwrap();
        assert_eq!(context.text_file(folder.path()).collect().unwrap(), [""; 0], "a folder of nothing");
    }

    /// A cut anywhere and a flip of any bit is an error that names the file and the offset.
    #[test]
    fn a_damaged_object_file_is_never_read_as_a_whole_one() {
        let (context, folder) = (context(), tempdir().unwrap());
        let path = folder.path().join("objects");
        context.parallelize((0..9).map(|n| n.to_string()), 1).save_as_object_file(&path).unwrap();
        let file = path.join("part-00000");
        let bytes = fs::read(&file).unwrap();
        let read = |bytes: &[u8]| {
            fs::write(&file, bytes).unwrap();
            context.object_file::<String>(&path).collect()
        };
        assert_eq!(read(&bytes).unwrap().len(), 9);
        let damaged = |bytes: &[u8]| {
            let error = read(bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Codec);
            assert!(error.to_string().contains("part-00000: offset "), "{error}");
            error.to_string()
        };
        for cut in 0..bytes.len() {
            damaged(&bytes[..cut]);
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            damaged(&flipped);
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(damaged(&longer).ends_with("the file goes on after its end"));
        // The last block has 8 bytes of head, 4 of count, 8 of total.
        let (blocks, end) = bytes.split_at(bytes.len() - 20);
        let lacking = [&bytes[..8], end].concat();
        assert!(damaged(&lacking).ends_with("0 of 9 records came before the end"), "{}", damaged(&lacking));
        let twice = [blocks, &blocks[8..], end].concat();
        assert!(damaged(&twice).ends_with("18 of 9 records came before the end"));
        assert!(context.object_file::<u8>(&path).collect().is_err(), "another type");
    }

    #[test]
    fn a_failing_task_leaves_no_directory() {
        let (context, folder) = (context(), tempdir().unwrap());
        let path = folder.path().join("out");
        let shares = context.parallelize([2, 1, 0], 3).map(|n| 10 / n);
        let error = shares.save_as_text_file(&path).unwrap_err();
        assert!(error.to_string().ends_with("partition 2: panicked: attempt to divide by zero"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_there_is_not_overwritten() {
        let (context, folder) = (context(), tempdir().unwrap());
        let path = folder.path().join("out");
        let numbers = context.parallelize([1], 1);
        numbers.save_as_text_file(&path).unwrap();
        for saved in [numbers.save_as_text_file(&path), numbers.save_as_object_file(&path)] {
            let error = saved.unwrap_err();
            assert!(error.to_string().contains("out: exists already"), "{error}");
        }
        assert_eq!(context.text_file(&path).collect().unwrap(), ["1"]);
    }
}
