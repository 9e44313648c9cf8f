//! The lineage of a dataset as text, as Spark draws it.

use std::fmt::Write;

use super::{AnyLineage, Dataset};
use crate::data::Data;

impl<T: Data> Dataset<T> {
    /// Draws what the dataset is made from, a line a recipe: its name and the line of the program that called it. What
    /// an action would do, before any runs.
    ///
    /// The number in parentheses is that of the partitions. It stands where tasks begin anew: at the dataset itself, and
    /// behind each shuffle, which is drawn as `+-`. Persisted datasets tell how many of their partitions are kept. What
    /// two datasets share is drawn under both.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").partitions(2).build()?;
    /// let words = context.parallelize(["ebb", "flood", "mill"], 3).map(String::from).persist();
    /// words.first()?;
    /// let counts = words.map(|word| (word, 1)).reduce_by_key(|a, b| a + b).map_values(|count| count * 10);
    /// let drawn = counts.to_debug_string();
    /// let tree = [
    ///     "(2) map_values at FILE:LINE",
    ///     " |  reduce_by_key at FILE:LINE",
    ///     " +-(3) map at FILE:LINE",
    ///     "    |  persist at FILE:LINE [1 of 3 partitions kept]",
    ///     "    |  map at FILE:LINE",
    ///     "    |  parallelize at FILE:LINE",
    /// ];
    /// # // Where the lines of this example are is not known to it.
    /// # let drawn = drawn.lines().map(|line| {
    /// #     let (before, place) = line.split_once(" at ").unwrap();
    /// #     let kept = place.find(" [").map_or("", |start| &place[start..]);
    /// #     assert!(place.contains(".rs:"), "{line}");
    /// #     format!("{before} at FILE:LINE{kept}")
    /// # });
    /// # let drawn = drawn.collect::<Vec<_>>().join("\n");
    /// assert_eq!(drawn, tree.join("\n"));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn to_debug_string(&self) -> String {
        let root = self.lineage().any();
        let mut text = String::new();
        let (number, below) = stage(root, "");
        line(&mut text, &format!("{number} "), root);
        draw_parents(&mut text, root, &below);
        text.truncate(text.trim_end().len());
        text
    }
}

/// The number of partitions where a stage begins, and what stands before the other lines of the stage.
fn stage(node: &dyn AnyLineage, indent: &str) -> (String, String) {
    let number = format!("({})", node.partitions());
    let left = (number.len() - 1) / 2;
    let below = format!("{indent}{:left$}|{:right$}", "", "", right = number.len() - left);
    (number, below)
}

fn line(text: &mut String, before: &str, node: &dyn AnyLineage) {
    let origin = node.header().origin();
    let _ = write!(text, "{before}{} at {}:{}", origin.name, origin.site.file(), origin.site.line());
    if let Some(kept) = node.kept_partitions() {
        let _ = write!(text, " [{kept} of {} partitions kept]", node.partitions());
    }
    text.push('\n');
}

/// Draws what `node` is made from. `before` is what stands before a line of the stage of `node`.
fn draw_parents(text: &mut String, node: &dyn AnyLineage, before: &str) {
    let mut left = 0;
    node.parents(&mut |_| left += 1);
    node.parents(&mut |parent| {
        left -= 1;
        if node.shuffle().is_none() {
            line(text, before, parent);
            draw_parents(text, parent, before);
            return;
        }
        // Without the bar of the stage that ends here.
        let outer = before.trim_end().trim_end_matches('|');
        let (number, below) = stage(parent, &format!("{outer}{}", if left == 0 { "  " } else { "| " }));
        line(text, &format!("{outer}+-{number} "), parent);
        draw_parents(text, parent, &below);
    });
}

#[cfg(test)]
mod tests {
    use crate::context::StreamingContext;
    use crate::data::Partitions;

    #[test]
    fn lineages_are_drawn_as_in_spark() {
        let context = StreamingContext::builder("test").build().unwrap();
        let first = line!() + 1;
        let pairs = context.parallelize((0..40).map(|n| (n, n)), 12);
        let kept = pairs.map_values(|n| n + 1).persist();
        let sums = kept.reduce_by_key_with(|a, b| a + b, Partitions::new(3));
        let both = sums.union(&kept).filter(|_| true);
        let sorted = both.repartition(1);
        assert_eq!(kept.take(1).unwrap(), [(0, 1)]);
        let at = |name: &str, offset: u32| format!("{name} at {}:{}", file!(), first + offset);
        let kept_line = at("persist", 1) + " [1 of 12 partitions kept]";
        let expected = [
            "(1) ".to_string() + &at("repartition", 4),
            " +-(15) ".to_string() + &at("filter", 3),
            "    |   ".to_string() + &at("union", 3),
            "    |   ".to_string() + &at("reduce_by_key", 2),
            "    +-(12) ".to_string() + &kept_line,
            "       |   ".to_string() + &at("map_values", 1),
            "       |   ".to_string() + &at("parallelize", 0),
            "    |   ".to_string() + &kept_line,
            "    |   ".to_string() + &at("map_values", 1),
            "    |   ".to_string() + &at("parallelize", 0),
        ];
        assert_eq!(sorted.to_debug_string(), expected.join("\n"));
        // What is kept whole has let go of what it was made from.
        kept.count().unwrap();
        assert_eq!(kept.to_debug_string(), format!("(12) {}", at("persist", 1) + " [12 of 12 partitions kept]"));
    }
}
