use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::setup::{self, Purpose};
use crate::{process, report, workspace};

/// What has the code tell which of its branches were taken; no nightly compiler is needed.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Named, so that the flags are the program's only, and no build script's.
fn host() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Feed hostile bytes to whatever reads what others wrote, under libFuzzer
///
/// Needs a C++ compiler. What was found to be interesting is kept in target/fuzz/corpus; what makes a target
/// panic, in the current folder. `cargo xtask test` runs the same targets for a second each.
#[derive(clap::Args)]
#[command(after_help = "Example: cargo xtask fuzz --seconds 600 recording")]
pub struct Fuzz {
    /// For how long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Targets of agent/src/hostile.rs; all of them if none is named.
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

impl Fuzz {
    pub fn run(self) -> Result<ExitCode> {
        let Self { seconds, targets } = self;
        setup::prepare(Purpose::Build)?;
        let folder = workspace::target().join("fuzz");
        let mut build = process::cargo();
        build.args(["build", "--release", "--manifest-path", "agent/fuzz/Cargo.toml", "--target", &host()]);
        process::run(build.arg("--target-dir").arg(&folder).env("RUSTFLAGS", COVERAGE))?;
        let corpora = folder.join("corpus");
        seed(&corpora)?;
        for target in if targets.is_empty() { all(&corpora)? } else { targets } {
            let corpus = corpora.join(&target);
            fs::create_dir_all(&corpus).with_context(|| format!("make {}", corpus.display()))?;
            report::status("Fuzzing", &target);
            let mut command = Command::new(folder.join(host()).join("release/fuzz"));
            command.env("TCPWHY_FUZZ_TARGET", &target).arg(&corpus);
            command.args([&format!("-max_total_time={seconds}"), "-max_len=65536", "-print_final_stats=1"]);
            process::run(&mut command)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Has the short run write what it begins with.
fn seed(corpora: &Path) -> Result<()> {
    let mut command = process::cargo();
    command.args(["test", "--quiet", "--package", "agent", "--test", "hostile"]);
    process::run(command.env("TCPWHY_FUZZ_SEEDS", corpora))
}

/// Each target has seeds.
fn all(corpora: &Path) -> Result<Vec<String>> {
    let folders = fs::read_dir(corpora).with_context(|| format!("list {}", corpora.display()))?;
    let mut targets: Vec<_> =
        folders.flatten().map(|folder| folder.file_name().to_string_lossy().into_owned()).collect();
    targets.sort();
    Ok(targets)
}
