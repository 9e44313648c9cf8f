//! Operators that look at the batches of a window.

mod key_ids;
mod panes;
mod reduce_by_key_and_window;
mod window;
