//! The one message that is not ours: that a type borrows is found out after traits have had their say. `Exchange` and
//! the guide explain it.

use tidemill::Result;
use tidemill::testing::run;

fn counts() -> Result<Vec<Vec<(&'static str, i32)>>> {
    run([vec![("Hull", 1), ("Kiel", 1)]], |visits| visits.reduce_by_key(|a, b| a + b))
}

fn main() {}
