//! A test of this binary as a program of its own, which can be killed.

use std::env;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub(crate) struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Runs one test of this binary. It knows by the variables that it is the program.
    pub(crate) fn start(test: &str, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Program { input: child.stdin.take(), child, output }
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        self.output.next().expect("the program runs until it is told to end").unwrap()
    }

    /// Kills it with SIGKILL. Returns what it had printed by then.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.rest()
    }

    /// Ends it by letting go of its standard input. Returns what it had still to print.
    pub(crate) fn end(mut self) -> Vec<String> {
        drop(self.input.take());
        let rest = self.rest();
        assert!(self.child.wait().unwrap().success());
        rest
    }

    fn rest(&mut self) -> Vec<String> {
        self.output.by_ref().map_while(Result::ok).collect()
    }
}
