//! What watching costs. `cargo xtask bench` builds and starts this; it prints one table.
//!
//! Everything is compared inside one run, in network namespaces of its own: the programs with programs that
//! do nothing on the same hooks, a storm with and without the agent, the agent with bpftrace. Medians of
//! interleaved rounds, since a machine is never quiet.

mod agent;
mod bpftrace;
mod crowd;
mod drops;
mod families;
mod holds;
mod load;
mod machine;
mod noop;
mod process;
mod programs;
mod resident;
mod slowdown;
mod storm;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::table::Table;

/// What is measured.
#[derive(Debug)]
struct Subject {
    /// `tcpwhy`, as it is shipped.
    tcpwhy: PathBuf,
    /// The object with the programs that do nothing.
    noop: PathBuf,
}

type Measure = fn(&Subject, &mut Table) -> Result<()>;

/// All that is measured; who names parts gets these alone.
const PARTS: [(&str, Measure); 8] = [
    ("programs", programs::measure),
    ("slowdown", slowdown::measure),
    ("storm", storm::measure),
    ("holds", holds::measure),
    ("resident", resident::measure),
    ("crowd", crowd::measure),
    ("families", families::measure),
    ("drops", drops::measure),
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["hold", to, count] => hold(to, count),
        ["refused"] => refused(),
        _ => measure().map(|table| print!("{}\n{table}", machine::facts())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Part of `crowd`, in a process of its own.
fn hold(to: &str, count: &str) -> Result<()> {
    raise_limit()?;
    crowd::hold(to.parse().context("an address")?, count.parse().context("a number")?)
}

/// Likewise: one connect to a closed port.
fn refused() -> Result<()> {
    let connected = std::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, 1));
    connected.map_or(Ok(()), |_| anyhow::bail!("somebody listens"))
}

fn raise_limit() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).context("ask how many files may be open")?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("let many files be open")
}

fn measure() -> Result<Table> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let mut next = || arguments.next().context("usage: bench TCPWHY NOOP-OBJECT [PART...]");
    let subject = Subject { tcpwhy: next()?, noop: next()? };
    raise_limit()?;
    let mut table = Table::default();
    let parts: Vec<_> = arguments.collect();
    for (name, measure) in PARTS {
        if parts.is_empty() || parts.iter().any(|part| part.as_os_str() == name) {
            measure(&subject, &mut table)?;
        }
    }
    Ok(table)
}
