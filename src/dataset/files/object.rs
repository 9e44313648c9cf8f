use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use super::{Format, unreadable};
use crate::codec::{self, Block, BlockRead};
use crate::data::{Data, Exchange};
use crate::dataset::{Dataset, Emitter, Header, ReadPartition};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Runtime;
use crate::storage::{Existing, Part};

/// What every object file begins with: seven letters and the version of the format.
const HEADER: [u8; 8] = *b"TMOBJCT\x01";

impl<T: Data> Dataset<T> {
    /// Writes a directory of object files, which [`object_file`](crate::StreamingContext::object_file) reads back: the
    /// records as serde writes them, with checksums, a file a partition.
    ///
    /// The directory has the form of that of [`save_as_text_file`](Dataset::save_as_text_file), and is never there in
    /// part. The bytes of a file are described in the guide.
    ///
    /// # Errors
    ///
    /// As [`save_as_text_file`](Dataset::save_as_text_file); a record that serde cannot write.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("levels");
    /// context.parallelize([("north", 71), ("south", 12)], 2).map(|(place, level)| (place.to_string(), level))
    ///     .save_as_object_file(&path)?;
    /// let levels = context.object_file::<(String, i32)>(&path);
    /// assert_eq!(levels.collect()?, [("north".to_string(), 71), ("south".to_string(), 12)]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn save_as_object_file(&self, path: impl AsRef<Path>) -> Result<()>
    where
        T: Exchange,
    {
        self.save_objects(path.as_ref(), Existing::Refuse)
    }

    pub(crate) fn save_objects(&self, path: &Path, existing: Existing) -> Result<()>
    where
        T: Exchange,
    {
        self.save(path, existing, Objects::new)
    }
}

impl<T: Exchange> Dataset<T> {
    /// See [`StreamingContext::object_file`](crate::StreamingContext::object_file).
    #[track_caller]
    pub(crate) fn of_objects(path: &Path, runtime: &Runtime) -> Self {
        Dataset::of_files(path, Header::new("object_file"), runtime, |path| ObjectPart { path, record: PhantomData })
    }
}

/// A header, blocks of records, and a block that tells how many there were.
struct Objects {
    has_begun: bool,
    block: Block,
    records: u64,
}

impl Objects {
    fn new() -> Self {
        Objects { has_begun: false, block: Block::new(), records: 0 }
    }

    fn begin(&mut self, part: &mut Part) -> Result<()> {
        if self.has_begun {
            return Ok(());
        }
        self.has_begun = true;
        part.write(|file| file.write_all(&HEADER))
    }
}

impl<T: Exchange> Format<T> for Objects {
    fn write(&mut self, records: &[T], part: &mut Part) -> Result<()> {
        self.begin(part)?;
        for record in records {
            self.block.push(record)?;
            if self.block.is_full() {
                self.block.flush(|frame| part.write(|file| file.write_all(frame)))?;
            }
        }
        self.records += records.len() as u64;
        Ok(())
    }

    fn finish(&mut self, part: &mut Part) -> Result<()> {
        Format::<T>::write(self, &[], part)?;
        self.block.flush(|frame| part.write(|file| file.write_all(frame)))?;
        self.block.end(self.records, |frame| part.write(|file| file.write_all(frame)))
    }
}

/// The records of an object file.
struct ObjectPart<T> {
    path: PathBuf,
    record: PhantomData<fn() -> T>,
}

impl<T: Exchange> ReadPartition<T> for ObjectPart<T> {
    fn records(&self) -> Option<u64> {
        None
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }

    fn read(&self, out: &mut Emitter<'_, T>) -> Result<()> {
        let file = File::open(&self.path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let mut file = Frames { file: BufReader::new(file), at: 0, length, frame: Vec::new() };
        file.header().map_err(|error| error.within("offset 0"))?;
        let mut records = 0;
        loop {
            let offset = file.at;
            let at = |error: Error| error.within(format!("offset {offset}"));
            let frame = file.frame::<T>().map_err(at)?;
            match codec::decode_block(frame, |record| out.emit(record)).map_err(at)? {
                _ if out.is_done() => return Ok(()),
                BlockRead::Values(count) => records += u64::from(count),
                BlockRead::End(total) if records != total => {
                    return Err(at(damaged(format!("{records} of {total} records came before the end"))));
                }
                BlockRead::End(_) if file.at != length => {
                    return Err(at(damaged("the file goes on after its end")));
                }
                BlockRead::End(_) => return Ok(()),
            }
        }
    }
}

/// A file that is read frame by frame.
struct Frames {
    file: BufReader<File>,
    at: u64,
    length: u64,
    frame: Vec<u8>,
}

impl Frames {
    fn header(&mut self) -> Result<()> {
        let mut header = [0; HEADER.len()];
        let letters = HEADER.len() - 1;
        self.take(&mut header)?;
        if header[..letters] != HEADER[..letters] {
            return Err(damaged("this is no object file"));
        }
        if header != HEADER {
            let (version, known) = (header[letters], HEADER[letters]);
            return Err(damaged(format!("the format has version {version}, this program knows {known}")));
        }
        Ok(())
    }

    /// The next frame. No more is asked for than the file has.
    fn frame<T>(&mut self) -> Result<&[u8]> {
        let mut head = [0; codec::FRAME_HEAD];
        self.take(&mut head)?;
        let length = codec::block_len::<T>(head)?;
        if length as u64 > self.length - self.at {
            return Err(cut_short());
        }
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        frame.extend_from_slice(&head);
        frame.resize(head.len() + length, 0);
        self.take(&mut frame[head.len()..])?;
        self.frame = frame;
        Ok(&self.frame)
    }

    fn take(&mut self, bytes: &mut [u8]) -> Result<()> {
        if bytes.len() as u64 > self.length - self.at {
            return Err(cut_short());
        }
        self.file.read_exact(bytes).map_err(unreadable)?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

fn cut_short() -> Error {
    damaged("the file is cut short")
}

fn damaged(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Codec, what)
}
