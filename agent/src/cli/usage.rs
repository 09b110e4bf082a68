//! How the program ends before it starts: help, version, or wrong usage.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command, CommandFactory as _};

use super::Cli;

/// `EX_USAGE` of sysexits.h.
const EX_USAGE: u8 = 64;

/// What to print, and with which code to exit.
#[derive(Debug)]
pub struct UsageEnd {
    error: clap::Error,
    variable: Option<String>,
}

impl UsageEnd {
    pub(super) fn new(error: clap::Error, args: &[OsString]) -> Self {
        let variable = variable(&error, args);
        Self { error, variable }
    }

    /// Prints it; nobody may be reading any more.
    pub fn report(&self) -> ExitCode {
        let _ = self.error.print();
        if let Some(variable) = &self.variable {
            anstream::eprintln!("\nThe value comes from the environment variable {variable}.");
        }
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        if self.error.use_stderr() { EX_USAGE } else { 0 }
    }

    #[cfg(test)]
    pub(super) fn code_and_text(&self) -> (u8, String) {
        (self.code(), format!("{}{}", self.error, self.variable.as_deref().unwrap_or_default()))
    }
}

/// clap names the flag but not where its value came from.
fn variable(error: &clap::Error, args: &[OsString]) -> Option<String> {
    let ContextValue::String(wrong) = error.get(ContextKind::InvalidArg)? else { return None };
    let mut command = Cli::command();
    command.build();
    let arg = arguments(&command).find(|arg| arg.to_string() == *wrong)?;
    let name = arg.get_env()?.to_str()?.to_owned();
    let given = std::env::var_os(&name).is_some() && !is_given(arg, args);
    given.then_some(name)
}

fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().chain(command.get_subcommands().flat_map(Command::get_arguments))
}

fn is_given(arg: &Arg, args: &[OsString]) -> bool {
    let long = arg.get_long().map(|long| format!("--{long}"));
    let short = arg.get_short().map(|short| format!("-{short}"));
    let texts = args.iter().map(|given| given.to_string_lossy());
    texts.into_iter().any(|given| {
        long.as_ref().is_some_and(|long| given.split('=').next() == Some(long))
            || short.as_ref().is_some_and(|short| given.starts_with(&**short))
    })
}
