//! The machine that the tests run on.

use std::env;

use crate::skip::skip;

/// Whether it is a guest of `cargo xtask vm`.
pub fn is_guest() -> bool {
    env::var_os("TCPWHY_VM").is_some()
}

/// Whether the whole machine is this test's to change; if not, `test` is skipped.
pub fn is_ours(test: &str) -> bool {
    let ours = is_guest();
    if !ours {
        skip(test, "changes settings of the whole host: only in a guest of `cargo xtask vm`");
    }
    ours
}
