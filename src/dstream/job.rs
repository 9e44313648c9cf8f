use crate::error::Result;

/// One output operation of one batch, ready to run.
pub(crate) struct Job {
    /// The place of the operation among the outputs of the program.
    pub(crate) output: usize,
    run: Box<dyn Fn() -> Result<()> + Send>,
}

impl Job {
    pub(crate) fn new(output: usize, run: impl Fn() -> Result<()> + Send + 'static) -> Self {
        Job { output, run: Box::new(run) }
    }

    /// May be called again after it has failed.
    pub(crate) fn run(&self) -> Result<()> {
        (self.run)()
    }
}
