//! The `tcpwhy` program.

use std::process::ExitCode;

use agent::cli::Cli;

/// 0 done, also by Ctrl-C or when nobody reads the output any more; 1 failed; 64 wrong usage.
fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(end) => return end.report(),
    };
    cli.start_log();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("tcpwhy: {error:#}");
            ExitCode::FAILURE
        }
    }
}
