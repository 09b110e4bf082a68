//! Waiting for a condition: never a fixed sleep, always a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// No scene takes longer, in an emulated guest of a loaded machine either: there the agent of a debug build looks for a
/// minute through the kernel's symbols before it tells the first reset.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// How often a condition is tested.
const STEP: Duration = Duration::from_millis(1);

/// Waits until `condition` holds; panics with `what` after [`PATIENCE`].
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    some(what, || condition().then_some(()));
}

/// Waits until `get` has something; panics with `what` after [`PATIENCE`].
pub fn some<T>(what: &str, mut get: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = get() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        thread::sleep(STEP);
    }
}
