//! The `tcpwhy` program.

use std::process::ExitCode;

use agent::cli::Cli;

/// 0 done, also by Ctrl-C or when nobody reads the output any more; 1 failed; 64 wrong usage. `check` has
/// words of its own for 1 and 2.
fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(end) => return end.report(),
    };
    cli.start_log();
    cli.run().unwrap_or_else(|error| {
        anstream::eprintln!("tcpwhy: {error:#}");
        ExitCode::FAILURE
    })
}
