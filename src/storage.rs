//! What is written to disk: directories that are there as a whole or not at all. Knows nothing of records or streams.

mod draft;

pub(crate) use draft::{Draft, Existing, Part, is_hidden};
