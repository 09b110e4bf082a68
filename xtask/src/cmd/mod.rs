//! The subcommands, one file each. A new one is a file, a variant and an arm.

mod bench;
mod cluster;
mod fuzz;
mod generate;
mod image;
mod lint;
mod run;
mod setup;
mod test;
mod vm;

use std::process::ExitCode;

use anyhow::Result;

/// What to do.
#[derive(clap::Subcommand)]
pub enum Task {
    Setup(setup::Setup),
    Run(run::Run),
    Test(test::Test),
    Lint(lint::Lint),
    Generate(generate::Generate),
    Vm(vm::Vm),
    Bench(bench::Bench),
    Fuzz(fuzz::Fuzz),
    Image(image::Image),
    Cluster(cluster::Cluster),
}

impl Task {
    /// Does it. `Err` is a failure to do the task; the code says how the task ended.
    pub fn run(self) -> Result<ExitCode> {
        match self {
            Self::Setup(task) => task.run(),
            Self::Run(task) => task.run(),
            Self::Test(task) => task.run(),
            Self::Lint(task) => task.run(),
            Self::Generate(task) => task.run(),
            Self::Vm(task) => task.run(),
            Self::Bench(task) => task.run(),
            Self::Fuzz(task) => task.run(),
            Self::Image(task) => task.run(),
            Self::Cluster(task) => task.run(),
        }
    }
}
