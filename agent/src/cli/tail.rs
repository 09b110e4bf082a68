//! `tcpwhy tail`

use std::path::PathBuf;

use clap::Args;

use super::attach::{AttachArgs, Attached, Loaded};
use super::client::{self, Lines};
use super::filter::FilterArgs;
use super::output::{Formatter, Output, print_feed};
use super::paths;
use super::printer::{self, Printer};
use super::signals::Signals;
use crate::export::filter::Filter;

/// Print events as they happen, and why connections stalled or died.
///
/// Asks the agent of this host; with --standalone it attaches by itself. In text a question mark after a
/// process means that only the listener's process is known. A reader too slow is told how many events it
/// missed.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  tcpwhy tail                                     all events of this host
  tcpwhy tail --address 198.51.100.0/24 --port 443
  tcpwhy tail --event reset_sent,reset_received   resets only
  tcpwhy tail --diagnoses                         why connections stalled or died, alone
  tcpwhy tail --cause closed_with_unread_data     one cause
  tcpwhy tail --netns /run/netns/blue             one network namespace
  tcpwhy tail -o json | jq .reset                 for programs
  tcpwhy tail --standalone                        without an agent

Ends with 0 on Ctrl-C and when nobody reads its output any more, with 1 when the agent ends.")]
pub(super) struct Tail {
    /// Form of the output.
    #[arg(short, long, value_enum, env = "TCPWHY_OUTPUT", default_value = "text", value_name = "FORM")]
    output: Output,
    /// The agent's socket [default: /run/tcpwhy/tcpwhy.sock, or below `XDG_RUNTIME_DIR`].
    #[arg(long, value_name = "PATH", env = "TCPWHY_SOCKET")]
    socket: Option<PathBuf>,
    /// Attach to the kernel without an agent; needs the same rights.
    #[arg(long)]
    standalone: bool,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    attach: AttachArgs,
}

impl Tail {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut signals = Signals::new()?;
        tokio::select! {
            () = signals.next() => Ok(()),
            result = self.print() => printer::end(result),
        }
    }

    async fn print(self) -> anyhow::Result<()> {
        let filter = Filter::from(self.filter);
        if self.standalone {
            return standalone(self.attach.load()?, &filter, self.output).await;
        }
        let socket = self.socket.unwrap_or_else(paths::for_reader);
        let lines = client::open(&socket, &format!("/v1/events?{}", filter.to_query())).await?;
        tokio::select! {
            result = print_lines(lines, self.output, Printer::stdout()) => result,
            () = printer::stdout_closed() => Ok(()),
        }
    }
}

async fn standalone(loaded: Loaded, filter: &Filter, output: Output) -> anyhow::Result<()> {
    let reader = loaded.subscribe();
    let Attached { host, mut source, .. } = loaded.start(None);
    tokio::select! {
        result = print_feed(reader, filter, host.hz, output) => result,
        result = source.ended() => result,
    }
}

/// Prints what the agent tells; whatever came before its end is printed before the error.
pub(super) async fn print_lines(mut lines: Lines, output: Output, printer: Printer) -> anyhow::Result<()> {
    let mut formatter = Formatter::new(output);
    let mut text = formatter.header();
    let result = loop {
        if printer.print(text).await.is_err() {
            break Ok(());
        }
        text = match lines.next().await {
            Ok(lines) => lines.iter().map(|line| formatter.line(line)).collect::<Result<_, _>>()?,
            Err(error) => break Err(error),
        };
    };
    printer.finish().await?;
    Ok(result?)
}
