//! Operators that look at one batch of pairs at a time.

// Wherever a method asks for a key: bounds of the method, and not of the block, are those of which the compiler says
// what `data` has to say.

mod aggregations;
mod joins;
mod values;
