//! What the library promises, a module per promise. All of it runs on a manual clock: nothing sleeps, nothing is
//! asserted of how long something took.

#[cfg(test)]
mod accumulators;
#[cfg(test)]
mod backpressure;
#[cfg(test)]
mod beside;
#[cfg(test)]
mod datasets;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod graceful_stop;
#[cfg(test)]
mod graph;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod joins;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod life;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod operators;
#[cfg(test)]
mod outputs;
#[cfg(test)]
mod outputs_fail;
#[cfg(test)]
mod owed;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod spark_names;
#[cfg(test)]
mod state;
mod storage;
#[cfg(test)]
mod upgrades;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod windows;
