//! docs/bench.md, from what the bench printed.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{process, report, workspace};

const INTRODUCTION: &str = "\
# What watching costs

As `cargo xtask bench --write-docs` measured it; do not edit by hand. Each pair of numbers is of one run:
programs beside ones that do nothing on the same hooks, both timed by the kernel (`BPF_ENABLE_STATS`, whose own
cost is in both); connects with and without the agent in turn; the agent, its tail off, beside bpftrace printing
`tracepoint:tcp:tcp_send_reset`. \"Asleep\": the agent is stopped, its ring fills. A ratio without a unit of its
own is tcpwhy by the other; where only tcpwhy is measured it is the number itself. Times of connects are
medians of single ones, so what wakes the reader now and then shows in the CPU of a record instead. Resident
memory counts each page once (`Pss`).
";

/// Writes it.
pub fn write(result: &str) -> Result<()> {
    let file = workspace::root().join("docs/bench.md");
    let date = process::capture(Command::new("date").args(["--utc", "+%F"]))?;
    let date = String::from_utf8_lossy(&date).trim().to_owned();
    fs::write(&file, format!("{INTRODUCTION}\n- {date}\n{result}"))
        .with_context(|| format!("write {}", file.display()))?;
    report::status("Wrote", file.display());
    Ok(())
}
