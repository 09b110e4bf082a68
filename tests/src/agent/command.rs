//! The program's commands, run beside the agent.

use std::io::{BufRead, BufReader, Lines, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::program;
use crate::live::Silent;
use crate::wait::{self, PATIENCE};

/// Runs a command to its end.
pub fn run(arguments: &[&str]) -> Output {
    run_into(arguments, Stdio::piped())
}

/// The same, its standard output going elsewhere.
pub fn run_into(arguments: &[&str], stdout: impl Into<Stdio>) -> Output {
    let mut command = Command::new(program());
    command.args(arguments).stdin(Stdio::null()).stdout(stdout);
    command.output().unwrap_or_else(|error| panic!("run {command:?}: {error}"))
}

/// A command that prints lines until it is ended.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    /// Starts one.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, None)
    }

    /// Starts one with these variables in its environment.
    pub fn start_with(
        arguments: &[&str],
        variables: impl IntoIterator<Item = (&'static str, &'static str)>,
    ) -> Self {
        let mut command = Command::new(program());
        command.envs(variables);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A terminal's Ctrl-C is for who started it.
        command.process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let lines = BufReader::new(child.stdout.take().expect("its standard output")).lines();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || forward(lines, &sender));
        Self { child, lines: receiver }
    }

    /// Waits for a line for which `wanted` holds.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut others = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no {what} among {others:#?}"));
            if wanted(&line) {
                return line;
            }
            others.push(line);
        }
    }

    /// The same of a line that a timer is to cause.
    pub fn try_wait_for(&self, wanted: impl Fn(&str) -> bool) -> Result<String, Silent> {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).map_err(|_| Silent)?;
            if wanted(&line) {
                return Ok(line);
            }
        }
    }

    /// The next line, if it comes in time.
    pub fn next_within(&self, time: Duration) -> Option<String> {
        self.lines.recv_timeout(time).ok()
    }

    /// Waits for its end; all lines that nobody has waited for.
    pub fn rest(self) -> Vec<String> {
        let mut rest = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            rest.push(line);
        }
        rest
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).expect("signal a running command");
    }

    /// Waits for its end; what it said on its standard error.
    pub fn end(mut self) -> (ExitStatus, String) {
        let status = wait::some("the command to end", || self.child.try_wait().expect("wait for a command"));
        let mut errors = String::new();
        let pipe = self.child.stderr.as_mut().expect("its standard error");
        pipe.read_to_string(&mut errors).expect("read its standard error");
        (status, errors)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(lines: Lines<BufReader<ChildStdout>>, sender: &mpsc::Sender<String>) {
    for line in lines.map_while(Result::ok) {
        if sender.send(line).is_err() {
            return;
        }
    }
}
