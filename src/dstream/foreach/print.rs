use std::fmt::Debug;
use std::io::Write;

use crate::data::Data;
use crate::dstream::DStream;
use crate::error::{Error, ErrorKind, Result};
use crate::time::Time;

impl<T: Data> DStream<T> {
    /// Prints the first ten records of every batch to standard output, as `Debug` shows them: an output operation. As in
    /// Spark, the heading tells the batch time, and `...` that there are more; an empty batch has its heading too, and a
    /// batch that the stream does not have prints nothing.
    ///
    /// No more partitions are computed than it takes to find the records.
    ///
    /// # Examples
    ///
    /// ```text
    /// -------------------------------------------
    /// Time: 1000 ms
    /// -------------------------------------------
    /// ("tide", 3)
    /// ("mill", 1)
    /// ...
    ///
    /// ```
    #[track_caller]
    pub fn print(&self)
    where
        T: Debug,
    {
        self.print_first(10);
    }

    /// As [`print`](DStream::print), with the first `n` records: Spark's `print(n)`.
    ///
    /// # Errors
    ///
    /// A closed standard output stops the context, as every failing output does.
    #[track_caller]
    pub fn print_first(&self, n: usize)
    where
        T: Debug,
    {
        self.output("print", move |dataset, batch| {
            let records = dataset.take(n.saturating_add(1))?;
            write(&mut std::io::stdout().lock(), batch.time, &records, n)
        });
    }
}

/// One batch in the form that Spark prints it in.
fn write(out: &mut impl Write, time: Time, records: &[impl Debug], n: usize) -> Result<()> {
    let mut text = format!("{0}\nTime: {time}\n{0}\n", "-".repeat(43));
    for record in records.iter().take(n) {
        text.push_str(&format!("{record:?}\n"));
    }
    if records.len() > n {
        text.push_str("...\n");
    }
    text.push('\n');
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| Error::new(ErrorKind::Output, "the batch cannot be printed").caused_by(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(records: &[i32], n: usize) -> String {
        let mut out = Vec::new();
        write(&mut out, Time::from_millis(2000), records, n).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_batch_is_headed_by_its_time_and_cut() {
        let rule = "-------------------------------------------";
        assert_eq!(printed(&[1, 2], 2), format!("{rule}\nTime: 2000 ms\n{rule}\n1\n2\n\n"));
        assert_eq!(printed(&[1, 2, 3], 2), format!("{rule}\nTime: 2000 ms\n{rule}\n1\n2\n...\n\n"));
        assert_eq!(printed(&[], 2), format!("{rule}\nTime: 2000 ms\n{rule}\n\n"));
    }
}
