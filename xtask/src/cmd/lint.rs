use std::process::ExitCode;

use anyhow::Result;

use crate::lint;
use crate::setup::{self, Purpose};
use crate::summary::Summary;

/// Check format, clippy, licences and stray paths
#[derive(clap::Args)]
pub struct Lint {}

impl Lint {
    pub fn run(self) -> Result<ExitCode> {
        let Self {} = self;
        setup::prepare(Purpose::Lint)?;
        let summary = Summary { checks: lint::all(), ..Summary::default() };
        summary.print_checks();
        Ok(if summary.checks_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
