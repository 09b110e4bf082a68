//! `tcpwhy check`

use std::io::Write as _;
use std::process::ExitCode;

use agent_source::kernel;
use agent_source::kernel::Options;
use clap::Args;

use self::report::{CheckReport, Verdict};
use self::surroundings::Surroundings;
use crate::cli::output::Output;
use crate::cli::printer;
use crate::schema;

mod advice;
mod place;
mod privileges;
mod report;
mod surroundings;
#[cfg(test)]
mod tests;
mod text;

/// Bytes of the ring of a trial that reads nothing from it.
const RING_SIZE: u32 = 64 << 10;

/// Tell what this kernel and these privileges allow: every probe, what is lost, what to do about it.
///
/// Loads and attaches every program as the agent would, and lets go of them at once. Run it where and as
/// the agent shall run: in a pod, as an init container.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  tcpwhy check                  one screen
  tcpwhy check -o json          for programs: docs/schema.md
  tcpwhy check || [ $? = 1 ]    as a condition: all that the agent needs is there

Exit status: 0 everything works, 1 something is lost but the agent works, 2 it cannot run, 64 wrong usage.")]
pub(in crate::cli) struct Check {
    /// Form of the output.
    #[arg(short, long, value_enum, env = "TCPWHY_OUTPUT", default_value = "text", value_name = "FORM")]
    output: Output,
}

impl Check {
    /// Needs a runtime, as the source does.
    #[expect(clippy::unused_async, reason = "loading registers descriptors with the runtime that runs this")]
    pub(in crate::cli) async fn run(self) -> anyhow::Result<ExitCode> {
        let options = Options { ring_size: RING_SIZE, ..Options::default() };
        let survey = kernel::survey(&options);
        let report = CheckReport::new(Surroundings::here(), survey.as_ref());
        let text = match self.output {
            Output::Json => schema::json_line(&report),
            Output::Text => text::page(&report, printer::colour()),
        };
        let printed = std::io::stdout().write_all(text.as_bytes());
        printer::end(printed.map_err(Into::into))?;
        Ok(exit_code(report.verdict))
    }
}

fn exit_code(verdict: Verdict) -> ExitCode {
    ExitCode::from(match verdict {
        Verdict::Ready => 0,
        Verdict::Degraded => 1,
        Verdict::Unable => 2,
    })
}
