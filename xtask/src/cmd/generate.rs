use std::process::ExitCode;

use anyhow::Result;

use crate::generate::{self, Part};
use crate::setup::{self, Purpose};

/// Make the files anew that are made from the code
///
/// Without a name: those that need neither root nor the network. A file that would come out the same is left
/// alone. docs/kernels.md and docs/bench.md hold measurements and are no part of this: `cargo xtask vm
/// --write-docs`, `cargo xtask bench --write-docs`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask generate                     after a change of a cause, a metric, a screen
  cargo xtask generate --check             what that would change; exit status 1 if anything
  cargo xtask generate btf recordings      after a change of the fields that the kernel side reads")]
pub struct Generate {
    /// Only say what would change, with exit status 1 if anything would.
    #[arg(long)]
    check: bool,
    /// All parts.
    #[arg(long, conflicts_with = "parts")]
    all: bool,
    /// These alone.
    #[arg(value_enum, value_name = "PART")]
    parts: Vec<Part>,
}

impl Generate {
    pub fn run(self) -> Result<ExitCode> {
        let Self { check, all, parts } = self;
        let parts = match parts.as_slice() {
            [] if all => Part::ALL,
            [] => Part::USUAL,
            named => named,
        };
        setup::prepare(Purpose::Build)?;
        let is_good = generate::run(parts, check)?;
        Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
