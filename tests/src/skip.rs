//! A test that cannot run here says so; it never just passes.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;

/// Reports `skipped: TEST: REASON` on the standard error and in the file that `TCPWHY_SKIPS` names.
pub fn skip(test: &str, reason: &str) {
    let line = format!("skipped: {test}: {reason}\n");
    eprint!("{line}");
    let Some(path) = env::var_os("TCPWHY_SKIPS") else { return };
    let file = OpenOptions::new().create(true).append(true).open(&path);
    // One write of one line: tests of several processes append to the same file.
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .unwrap_or_else(|error| panic!("append to {}: {error}", path.display()));
}
