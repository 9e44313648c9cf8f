//! Operators that keep a state for each key.

mod kept;
mod map_with_state;
mod state_spec;
mod step;
mod update_spec;
mod update_state_by_key;

pub use map_with_state::MapWithState;
pub use state_spec::StateSpec;
pub use update_spec::UpdateSpec;
