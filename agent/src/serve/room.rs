//! Descriptors: clients get what the agent itself can do without.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::listener::Limits;

/// Left to the agent: what it opens for a moment to walk over open files, to read counters (of each CPU: the number
/// of CPUs is in a file) and to reach an API server, and a client at each listener that waits for a slot.
const SPARE: u64 = 24;

/// Enough for the agent and for all clients that the listeners allow.
const WANTED: u64 = 512;

/// Clients of each of `listeners` at a time, if descriptors are fewer than they all allow. Once everything else is
/// open.
pub(super) fn clients(listeners: u64) -> usize {
    let (limit, open) = (limit(), open());
    let clients = share(limit, open, listeners);
    if clients < Limits::MOST_CLIENTS {
        log::warn!(
            "at most {clients} clients a listener: {open} of {limit} open files are in use (ulimit -n)"
        );
    }
    clients
}

fn share(limit: u64, open: u64, listeners: u64) -> usize {
    let left = limit.saturating_sub(open + SPARE) / listeners;
    usize::try_from(left).unwrap_or(usize::MAX).max(1)
}

/// The limit of this process, raised as far as it needs and may.
fn limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (current, most) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
    let wanted = current.max(WANTED.min(most));
    let raised = Rlimit { current: Some(wanted), maximum };
    if wanted > current && setrlimit(Resource::Nofile, raised).is_ok() { wanted } else { current }
}

/// Without /proc, what an agent has as a rule.
fn open() -> u64 {
    const USUAL: u64 = 80;
    fs::read_dir("/proc/self/fd").map_or(USUAL, |files| files.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_share_what_is_left() {
        assert_eq!(share(1024, 70, 3), 310);
        assert_eq!(share(130, 70, 3), 12);
        assert_eq!(share(80, 70, 3), 1, "one at least: health is asked there");
        assert!(limit() >= WANTED.min(getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)));
        assert!(open() >= 3);
    }
}
