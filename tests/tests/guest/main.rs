//! The agent on a machine whose settings are the test's to change: only in a guest of `cargo xtask vm`, one test
//! after another.

mod cgroup;
mod clock;
mod cpus;
mod pages;
mod replayed;
mod workloads;

use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{env, fs};

use tests::agent::Agent;
use tests::machine;
use tests::skip::skip;

/// Kernels on which these run: the oldest, the middle one and the newest. What they test is the agent's, and the
/// same on all; each takes the better part of a minute.
const LINES: [&str; 3] = ["5.10", "6.12", "latest"];

/// The agent of a test that has the machine for itself; both end with this value.
struct Alone {
    agent: Option<Agent>,
    _machine: MutexGuard<'static, ()>,
}

impl Alone {
    /// `None`, and skipped, if the machine is not ours, or its kernel none of [`LINES`].
    fn new(test: &str) -> Option<Self> {
        Self::on(test, &LINES)
    }

    /// The same of a test that takes even longer.
    fn on(test: &str, lines: &[&str]) -> Option<Self> {
        static MACHINE: Mutex<()> = Mutex::new(());
        if !machine::is_ours(test) {
            return None;
        }
        if !env::var("TCPWHY_KERNEL").is_ok_and(|line| lines.contains(&&*line)) {
            skip(test, &format!("takes long: on {} only", lines.join(", ")));
            return None;
        }
        let machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Self { agent: Some(Agent::start("guest", &[])), _machine: machine })
    }
}

impl Deref for Alone {
    type Target = Agent;

    fn deref(&self) -> &Agent {
        self.agent.as_ref().expect("it ends with this value")
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.agent.take().map(Agent::end);
    }
}

/// A setting of the whole machine, put back at the end.
struct Setting {
    path: &'static str,
    before: String,
}

impl Setting {
    fn keep(path: &'static str) -> Self {
        let before = fs::read_to_string(path).unwrap_or_else(|error| panic!("read {path}: {error}"));
        Self { path, before }
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = fs::write(self.path, &self.before);
    }
}
