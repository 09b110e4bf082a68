//! What `cargo test` prints, read line by line.

/// One test program, or the documentation tests of one crate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suite {
    /// Program and source, or crate.
    pub name: String,
    /// Tests that passed, by name.
    pub passed: Vec<String>,
    /// Tests that failed, by name.
    pub failed: Vec<String>,
    /// Tests that did not run, with the reason that their `#[ignore]` gives.
    pub ignored: Vec<(String, String)>,
    /// libtest's own count; none from a program that died.
    pub result: Option<TestResult>,
}

/// The line `test result: ..`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TestResult {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests left out by `#[ignore]`.
    pub ignored: usize,
}

/// Everything a run printed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// In the order they ran.
    pub suites: Vec<Suite>,
}

impl Transcript {
    /// Takes in the next line.
    pub fn read(&mut self, line: &str) {
        if let Some(name) = suite_name(line) {
            self.suites.push(Suite { name, ..Suite::default() });
        } else if let Some(suite) = self.suites.last_mut() {
            suite.read(line);
        }
    }

    /// Tests that failed, and programs that died.
    pub fn failed(&self) -> usize {
        self.suites.iter().map(|suite| suite.result().failed).sum()
    }
}

impl Suite {
    /// Takes in the next line of its program.
    pub fn read(&mut self, line: &str) {
        if let Some(result) = test_result(line) {
            self.result = Some(result);
        } else if let Some((name, outcome)) = test_outcome(line) {
            self.note(name.to_owned(), outcome);
        }
    }

    fn note(&mut self, name: String, outcome: &str) {
        match outcome.split_once(", ").unwrap_or((outcome, "")) {
            ("ok", _) => self.passed.push(name),
            ("FAILED", _) => self.failed.push(name),
            ("ignored", reason) => self.ignored.push((name, reason.to_owned())),
            _ => {}
        }
    }

    /// libtest's count, or what is known of a program that died: that is one more failure.
    pub fn result(&self) -> TestResult {
        self.result.unwrap_or_else(|| TestResult {
            passed: self.passed.len(),
            failed: self.failed.len() + 1,
            ignored: self.ignored.len(),
        })
    }
}

/// From `Running unittests src/lib.rs (target/debug/deps/agent-0123)` or `Doc-tests agent`.
fn suite_name(line: &str) -> Option<String> {
    let line = line.strip_prefix("   ")?.trim_start();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{name} doc-tests"));
    }
    let (source, program) = line.strip_prefix("Running ")?.strip_suffix(')')?.split_once(" (")?;
    let file = program.rsplit('/').next()?;
    let name = file.rsplit_once('-').map_or(file, |(name, _hash)| name);
    Some(format!("{name} {}", source.trim_start_matches("unittests ")))
}

/// From `test a::b ... ok`.
fn test_outcome(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("test ")?.split_once(" ... ")
}

/// From `test result: ok. 3 passed; 0 failed; 1 ignored; ..`.
fn test_result(line: &str) -> Option<TestResult> {
    let (_verdict, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        let mut words = counts.split("; ").filter_map(|count| count.split_once(' '));
        words.find(|(_, word)| *word == what)?.0.parse().ok()
    };
    Some(TestResult { passed: count("passed")?, failed: count("failed")?, ignored: count("ignored")? })
}

#[cfg(test)]
mod tests {
    use super::{Suite, TestResult, Transcript};

    fn read(text: &str) -> Transcript {
        let mut transcript = Transcript::default();
        text.lines().for_each(|line| transcript.read(line));
        transcript
    }

    #[test]
    fn suites_are_read_with_names_and_counts() {
        let transcript = read(
            "   Compiling agent v0.1.0
    Finished `test` profile [unoptimized + debuginfo] target(s) in 0.10s
     Running unittests src/lib.rs (target/debug/deps/agent-5b9e5f2e0492a6c1)

running 3 tests
test decode::short ... ok
test slow ... ignored, needs a day
test decode::long ... FAILED

failures:
    decode::long

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s

   Doc-tests agent

running 0 tests

test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
",
        );
        let lib = Suite {
            name: "agent src/lib.rs".to_owned(),
            passed: vec!["decode::short".to_owned()],
            failed: vec!["decode::long".to_owned()],
            ignored: vec![("slow".to_owned(), "needs a day".to_owned())],
            result: Some(TestResult { passed: 1, failed: 1, ignored: 1 }),
        };
        let doc_tests = Suite {
            name: "agent doc-tests".to_owned(),
            result: Some(TestResult::default()),
            ..Suite::default()
        };
        assert_eq!(transcript.suites, [lib, doc_tests]);
        assert_eq!(transcript.failed(), 1);
    }

    #[test]
    fn a_program_that_died_is_a_failure() {
        let transcript = read(
            "     Running tests/live_kernel.rs (target/debug/deps/live_kernel-0a-1b)
running 2 tests
test first ... ok
error: test failed, to rerun pass `-p tests --test live_kernel`
     Running unittests src/main.rs (target/debug/deps/xtask-0123)
test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        );
        assert_eq!(transcript.suites[0].name, "live_kernel-0a tests/live_kernel.rs");
        assert_eq!(transcript.suites[0].result(), TestResult { passed: 1, failed: 1, ignored: 0 });
        assert_eq!(transcript.failed(), 1);
    }

    #[test]
    fn a_tests_own_output_counts_nothing() {
        let transcript = read(
            "test result: ok. 9 passed; 0 failed; 0 ignored
     Running tests/a.rs (target/debug/deps/a-1)
test result: nonsense
Running late (so it says)
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        );
        assert_eq!(transcript.suites.len(), 1);
        assert_eq!(transcript.suites[0].result().passed, 1);
    }
}
