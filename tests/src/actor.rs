//! Processes of their own pid and name, driven from a test: see `bin/lab-actor.rs` for their parts.

use std::env;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::netns::Netns;

/// Name of the process, and of its main thread.
pub const NAME: &str = "lab-actor";

/// Name of the children of the forking server.
pub const CHILD_NAME: &str = "lab-child";

/// A running actor; it ends with this value, or with the test process.
#[derive(Debug)]
pub struct Actor {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Actor {
    /// Starts one inside `netns` with its part and the part's arguments.
    pub fn start(netns: &Netns, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments);
        Self::run(netns, command)
    }

    /// The same in the cgroup of that `cgroup.procs`, which a shell enters first: a socket is of the cgroup that its maker is in.
    pub fn start_in(netns: &Netns, procs: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
        command.arg(procs).arg(binary()).args(arguments);
        Self::run(netns, command)
    }

    fn run(netns: &Netns, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = netns.start(&mut command);
        let orders = child.stdin.take().expect("its standard input");
        let answers = BufReader::new(child.stdout.take().expect("its standard output")).lines();
        Self { child, orders, answers }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives an order and waits until it was carried out.
    pub fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap_or_else(|error| panic!("order an actor to {order}: {error}"));
        self.answer("done");
    }

    /// Gives an order that ends it, and waits until it is gone.
    pub fn last_order(mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap_or_else(|error| panic!("order an actor to {order}: {error}"));
        self.child.wait().expect("wait for an actor");
    }

    /// Waits for the line that starts with `word`; returns the rest.
    pub fn answer(&mut self, word: &str) -> String {
        let line = self.answers.next().expect("the actor ended early").expect("read from an actor");
        let rest = line.strip_prefix(word).unwrap_or_else(|| panic!("waited for {word}, got {line}"));
        rest.trim().to_owned()
    }

    /// Waits for the line that starts with `word` and holds an address.
    pub fn address(&mut self, word: &str) -> SocketAddr {
        self.answer(word).parse().expect("an address")
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.end();
    }
}

/// Cargo puts the tests one folder below the binaries.
pub fn binary() -> PathBuf {
    let test = env::current_exe().expect("the path of this test");
    let candidates = test.ancestors().skip(1).take(2).map(|folder| folder.join(NAME));
    candidates
        .into_iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("no {NAME} beside {}", test.display()))
}
