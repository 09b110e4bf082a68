//! The demo that `cargo xtask run --demo` runs. `TCPWHY_BIN` names the program; all arguments are the agent's
//! (`--record FILE`).

use std::env;
use std::io;
use std::process::ExitCode;

use tests::demo::{Play, play};

fn main() -> ExitCode {
    let more: Vec<String> = env::args().skip(1).collect();
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    match play(&mut io::stdout(), &more) {
        Ok(Play::Done | Play::Ended) => ExitCode::SUCCESS,
        Ok(Play::Failed(scenes)) => {
            eprintln!("demo: {scenes} scenes were not told as they should be");
            ExitCode::FAILURE
        }
        // Nobody reads any more.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: write: {error}");
            ExitCode::FAILURE
        }
    }
}
