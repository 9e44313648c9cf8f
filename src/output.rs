//! Where records go: outputs that write somewhere else than to files. Knows nothing of datasets, streams or time.

pub(crate) mod kafka;
