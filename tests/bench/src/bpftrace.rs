//! bpftrace printing the tracepoint that our reset record is made at.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::Process;

/// A tenth of what our record has, and no more than every kernel's tracepoint has.
const SCRIPT: &str = r#"tracepoint:tcp:tcp_send_reset {
    printf("R %llu %d %p %p\n", nsecs, args->state, args->skaddr, args->skbaddr)
}"#;

/// Its debugfs is mounted in a mount namespace of its own. Both replace themselves, so the process is
/// bpftrace's.
const START: &str = "mount -t debugfs none /sys/kernel/debug && exec bpftrace -e \"$1\"";

/// How long it gets to compile its script.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running one; it ends with this value.
#[derive(Debug)]
pub struct Bpftrace {
    child: Child,
    lines: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
}

impl Bpftrace {
    /// Starts it and waits until it prints what `provoke` does; `None` if it never does.
    pub fn start(provoke: impl Fn()) -> Result<Option<Self>> {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", START, "sh", SCRIPT]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("start bpftrace")?;
        let lines = counted(child.stdout.take().context("its output")?, "R ");
        let lost = counted(child.stderr.take().context("its errors")?, "Lost ");
        let running = Self { child, lines, lost };
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            provoke();
            thread::sleep(Duration::from_millis(50));
            if running.lines() > 0 {
                return Ok(Some(running));
            }
        }
        Ok(None)
    }

    /// Its process.
    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// Resets printed so far.
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Times that it said it lost some.
    pub fn losses_reported(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Bpftrace {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Lines that start with `start`, counted as they come.
fn counted(pipe: impl Read + Send + 'static, start: &'static str) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    thread::spawn(move || {
        let lines = BufReader::new(pipe).lines().map_while(Result::ok);
        for _ in lines.filter(|line| line.starts_with(start)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    count
}
