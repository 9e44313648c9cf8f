//! Operators that look at the batches of a window.

mod count_by_value_and_window;
mod filter_keys;
mod group_by_key_and_window;
mod kept;
mod panes;
mod reduce_by_key_and_window;
mod reduce_by_window;
mod sliding;
mod window;
