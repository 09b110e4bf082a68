//! Real kernels, booted under emulation with the tests inside.
//!
//! ```text
//! archive, release -> kernel (fetched) -> initramfs <- suite (the tests) -> qemu -> guest (what it said)
//! ```

pub mod btf;
mod cpio;
pub mod docs;
mod emulator;
mod facts;
mod guest;
mod initramfs;
mod kernel;
mod matrix;
mod pool;
mod python;
mod qemu;
mod release;
mod suite;

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::Result;

use crate::libtest::{Suite, TestResult};
use crate::skips::ON;
use crate::{report, workspace};
use kernel::{Kernel, Kernels};
use qemu::Boot;

/// Every line that differs from its neighbours in what the programs touch (6.10, 6.15 and 6.17 changed
/// tracepoints, 7.1 timers), each long-term line, and the newest kernel there is.
pub const LINES: [&str; 8] = ["5.10", "6.1", "6.12", "6.16", "6.17", "6.18", "7.2", release::LATEST];

/// What to run, and where.
#[derive(Debug)]
pub struct Request {
    /// Lines of kernels.
    pub lines: Vec<String>,
    /// Guests at the same time.
    pub jobs: NonZero<usize>,
    /// For the test programs.
    pub arguments: Vec<String>,
    /// More work of the verifier than docs/kernels.md has is printed and no failure.
    pub accepts_cost: bool,
}

/// What became of one line.
#[derive(Debug)]
pub enum Outcome {
    /// It booted, at least once.
    Ran(Kernel, Boot),
    /// It did not.
    Absent(Absent),
}

/// A line without a kernel, or with one that has run already.
#[derive(Debug)]
pub struct Absent {
    line: String,
    reason: String,
}

/// Below target: fetched kernels, logs, apt's lists.
fn dir() -> PathBuf {
    workspace::target().join("vm")
}

/// Prints each line's newest kernel and whether it is here.
pub fn list(lines: &[String]) -> Result<()> {
    let kernels = Kernels::open(&dir(), release::AMD64)?;
    for line in lines {
        match kernels.newest(line) {
            Some((release, true)) => println!("{line:<8} {release} (fetched)"),
            Some((release, false)) => println!("{line:<8} {release}"),
            None => println!("{line:<8} not in Debian's archive"),
        }
    }
    Ok(())
}

/// All that booting takes beside the tests themselves.
pub struct Lab {
    kernels: Kernels,
}

impl Lab {
    /// Finds the emulator and the list of kernels, or installs and fetches them. `Err` is what is missing on
    /// this machine.
    pub fn open() -> Result<Self> {
        let dir = dir();
        let kernels = Kernels::open(&dir, release::AMD64)?;
        emulator::ensure(kernels.archive(), &dir.join("packages"))?;
        Ok(Self { kernels })
    }

    /// Boots them all.
    pub fn run(self, request: &Request) -> Result<Vec<Outcome>> {
        let Self { mut kernels } = self;
        let found = find(&mut kernels, &request.lines);
        let suite = suite::build()?;
        let common = initramfs::common(&suite)?;
        // The newest kernels first: theirs are the most tests.
        let found = found.into_iter().rev().collect();
        let outcomes = pool::map(found, request.jobs, |found| match found {
            Ok(kernel) => boot(kernel, &common, request, &dir().join("logs")),
            Err(absent) => Ok(Outcome::Absent(absent)),
        });
        outcomes.into_iter().rev().collect()
    }
}

/// More than four guests at a time gain nothing over the kernels there are.
pub fn processors() -> NonZero<usize> {
    let four = const { NonZero::new(4).unwrap() };
    thread::available_parallelism().map_or(four, |count| count.min(four))
}

/// One after the other: the archive's server is not ours to hurry.
fn find(kernels: &mut Kernels, lines: &[String]) -> Vec<Result<Kernel, Absent>> {
    let mut found: Vec<Result<Kernel, Absent>> = Vec::new();
    for line in lines {
        let twin_of = |kernel: &Kernel| found.iter().flatten().find(|other| other.release == kernel.release);
        let kernel = match kernels.get(line) {
            Ok(kernel) => match twin_of(&kernel) {
                Some(twin) => Err(format!("the same as {}", twin.line)),
                None => Ok(kernel),
            },
            Err(error) => Err(format!("{error:#}")),
        };
        found.push(kernel.map_err(|reason| Absent { line: line.clone(), reason }));
    }
    found
}

fn boot(kernel: Kernel, common: &[u8], request: &Request, logs: &Path) -> Result<Outcome> {
    let settings = settings(&kernel, request)?;
    let initramfs = [common, &initramfs::own(&kernel, &settings)?].concat();
    let boot = qemu::boot(&kernel, &initramfs, logs)?;
    let counts = matrix::counts(&boot.guest);
    let seconds = boot.took.as_secs_f32();
    report::status("Ran", format_args!("{} ({}) in {seconds:.1} s: {counts}", kernel.line, kernel.release));
    Ok(Outcome::Ran(kernel, boot))
}

/// Sourced by the guest's first process.
fn settings(kernel: &Kernel, request: &Request) -> Result<String> {
    Ok(format!(
        "export TCPWHY_VM=1 TCPWHY_BIN=/lab/{} TCPWHY_HZ={} TCPWHY_KERNEL={}{}\nLAB_PATIENCE=900\nLAB_ARGUMENTS='--test-threads 2 {}'\n",
        suite::PROGRAM,
        kernel.hz()?,
        kernel.line,
        if request.accepts_cost { " TCPWHY_ACCEPT_COST=1" } else { "" },
        request.arguments.join(" "),
    ))
}

/// As suites of tests, named after the kernels.
pub fn suites(outcomes: &[Outcome]) -> Vec<Suite> {
    outcomes.iter().flat_map(Outcome::suites).collect()
}

/// Why tests failed: their own words, and the kernel's last ones if it died.
pub fn print_failures(outcomes: &[Outcome]) {
    for outcome in outcomes {
        if let Outcome::Ran(kernel, boot) = outcome {
            matrix::print_failures(kernel, boot);
        }
    }
}

/// Tests by kernels, and where the verifier's work is not what docs/kernels.md has.
pub fn print_matrix(outcomes: &[Outcome]) {
    matrix::print(outcomes);
    matrix::print_costs(outcomes);
}

impl Outcome {
    fn suites(&self) -> Vec<Suite> {
        match self {
            Self::Absent(Absent { line, reason }) => vec![Suite {
                name: line.clone(),
                ignored: vec![(line.clone(), reason.clone())],
                result: Some(TestResult { ignored: 1, ..TestResult::default() }),
                ..Suite::default()
            }],
            Self::Ran(kernel, boot) => {
                let mut suites: Vec<_> =
                    boot.guest.suites.iter().map(|suite| of_kernel(suite, kernel)).collect();
                if !boot.guest.is_done {
                    // One without a result counts as one more failure.
                    suites.push(Suite { name: format!("{} guest", kernel.line), ..Suite::default() });
                } else if boot.is_second {
                    suites.push(first_boot(kernel));
                }
                suites
            }
        }
    }
}

/// What the emulator did to a guest is no test's fault, and is counted beside the skips, so that a rise is seen.
fn first_boot(kernel: &Kernel) -> Suite {
    let reason = "the guest died or hung in the emulator, and was booted once more";
    Suite {
        name: format!("{} guest", kernel.line),
        ignored: vec![(on("the first boot", kernel), reason.to_owned())],
        result: Some(TestResult { ignored: 1, ..TestResult::default() }),
        ..Suite::default()
    }
}

/// The kernel is put behind the names of its tests, so that a skip of the same test on this machine is not taken for
/// theirs.
fn of_kernel(suite: &Suite, kernel: &Kernel) -> Suite {
    let Suite { name, passed, failed, ignored, result } = suite.clone();
    let passed = passed.iter().map(|test| on(test, kernel)).collect();
    let ignored = ignored.into_iter().map(|(test, reason)| (on(&test, kernel), reason)).collect();
    Suite { name: format!("{} {name}", kernel.line), passed, failed, ignored, result }
}

fn on(test: &str, kernel: &Kernel) -> String {
    format!("{test}{ON}{}", kernel.line)
}
