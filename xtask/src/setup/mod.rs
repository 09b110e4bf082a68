//! Making a machine ready. Every step looks first, installs only what is missing, and says which.

pub mod archive;
pub mod arm64;
mod compiler;
pub mod debian;
pub mod deny;
mod helm;
mod linker;
mod programs;
pub mod python;

use anyhow::Result;

/// What the machine is made ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `cargo build`.
    Build,
    /// `cargo xtask lint` as well.
    Lint,
    /// `cargo test` as well.
    Test,
}

/// Makes it so, or says what is missing.
pub fn prepare(purpose: Purpose) -> Result<()> {
    compiler::ensure()?;
    linker::ensure()?;
    match purpose {
        Purpose::Build => Ok(()),
        Purpose::Lint => deny::ensure(),
        Purpose::Test => {
            programs::ensure()?;
            python::ensure()?;
            deny::ensure()?;
            helm::ensure()
        }
    }
}
