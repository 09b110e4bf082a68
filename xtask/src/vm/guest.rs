//! What a guest says on its second serial line: its tests' output, and lines of `init.sh` between.

use crate::libtest::{Suite, TestResult};
use crate::skips::Skip;

/// A guest's words.
#[derive(Debug, Default)]
pub struct Guest {
    /// Seconds that the kernel took.
    pub boot: Option<f32>,
    /// One a test program.
    pub suites: Vec<Suite>,
    /// What the tests found out about the kernel, see `facts.rs`.
    pub facts: Vec<String>,
    /// Everything else that was printed: of failed tests, why.
    pub output: Vec<String>,
    /// It reached its end.
    pub is_done: bool,
    /// The emulator's.
    pub complaint: String,
}

/// A line of `init.sh`.
enum Word<'a> {
    Boot(&'a str),
    Run(&'a str),
    Exit(&'a str),
    Skip(&'a str),
    Fact(&'a str),
    Done,
}

impl Guest {
    /// Reads all of it.
    pub fn read(text: &str) -> Self {
        let mut guest = Self::default();
        for line in text.lines().map(|line| line.trim_end_matches('\r')) {
            match Word::parse(line) {
                Some(word) => guest.heed(&word),
                None => guest.listen(line),
            }
        }
        guest
    }

    fn heed(&mut self, word: &Word<'_>) {
        match word {
            Word::Boot(rest) => self.boot = rest.split(' ').next().and_then(|uptime| uptime.parse().ok()),
            Word::Run(name) => self.suites.push(Suite { name: (*name).to_owned(), ..Suite::default() }),
            Word::Exit(status) => self.exited(status),
            Word::Skip(line) => self.skipped(&Skip::parse(line)),
            Word::Fact(fact) => self.facts.push((*fact).to_owned()),
            Word::Done => self.is_done = true,
        }
    }

    fn listen(&mut self, line: &str) {
        if let Some(suite) = self.suites.last_mut() {
            suite.read(line);
        }
        self.output.push(line.to_owned());
    }

    /// A program that `timeout` ended says nothing about it.
    fn exited(&mut self, status: &str) {
        if status == "124" {
            self.output.push("the tests took too long".to_owned());
        }
    }

    /// libtest counts a test that skipped itself as passed.
    fn skipped(&mut self, skip: &Skip) {
        let Some(suite) = self.suites.last_mut() else { return };
        let Suite { passed, ignored, result, .. } = suite;
        if let Some(at) = passed.iter().position(|test| skip.is_of(test)) {
            ignored.push((passed.remove(at), skip.reason.clone()));
            if let Some(TestResult { passed, failed: _, ignored }) = result {
                *passed -= 1;
                *ignored += 1;
            }
        }
    }
}

impl<'a> Word<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let words = line.strip_prefix("VM: ")?;
        let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
        Some(match word {
            "boot" => Self::Boot(rest),
            "run" => Self::Run(rest),
            "exit" => Self::Exit(rest),
            "skip" => Self::Skip(rest),
            "fact" => Self::Fact(rest),
            "done" => Self::Done,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Guest;

    const TEXT: &str = "VM: boot 1.42 6.1.0-56-cloud-amd64\r
VM: run kernel\r
running 3 tests
test a ... ok
test m::b ... ok
test c ... FAILED
c was wrong
test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s
VM: exit 101
VM: skip skipped: b: no such file: here
VM: fact program retransmit up 7
VM: done";

    #[test]
    fn tests_skips_and_facts_are_distinguished() {
        let guest = Guest::read(TEXT);
        let suite = &guest.suites[0];
        assert_eq!((guest.boot, guest.is_done), (Some(1.42), true));
        assert_eq!(
            (suite.passed.as_slice(), suite.failed.as_slice()),
            (&["a".into()][..], &["c".into()][..])
        );
        assert_eq!(suite.ignored, [("m::b".to_owned(), "no such file: here".to_owned())]);
        let result = suite.result();
        assert_eq!((result.passed, result.failed, result.ignored), (1, 1, 1));
        assert_eq!(guest.facts, ["program retransmit up 7"]);
        assert!(guest.output.contains(&"c was wrong".to_owned()));
    }

    #[test]
    fn a_guest_that_died_is_not_done() {
        let guest = Guest::read("VM: boot 1.0 x\nVM: run kernel\ntest a ... ok\n");
        assert!(!guest.is_done);
        assert_eq!(guest.suites[0].result().failed, 1);
    }
}
