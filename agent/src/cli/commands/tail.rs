//! `tcpwhy tail`

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use crate::cli::client::{self, ClientError};
use crate::cli::flags::attach::{AttachArgs, Attached, Loaded};
use crate::cli::flags::filter::FilterArgs;
use crate::cli::flags::paths;
use crate::cli::flags::since::since;
use crate::cli::flags::style::StyleArgs;
use crate::cli::output::{Formatter, Output, print_feed};
use crate::cli::printer::{self, Printer};
use crate::cli::rights::Rights;
use crate::cli::signals::Signals;
use crate::filter::Filter;
use crate::filter::query::Query;
use crate::schema::LineError;

/// Between two tries to reach an agent.
const RETRY: Duration = Duration::from_millis(500);

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
  tcpwhy tail --since 10m --diagnoses             what the agent remembers, then what comes
  tcpwhy tail --time delta --fields time,event,remote,what
  tcpwhy tail --resolve                           names of hosts, once they are known
  tcpwhy tail --follow                            wait for an agent that ended, and go on
  tcpwhy tail -n shop -l app=web                  pods with that label
  tcpwhy tail --standalone                        without an agent

Exit status: 0 on Ctrl-C and when nobody reads its output any more, 1 when the agent ends (not with --follow)
or the kernel refuses, 64 wrong usage.")]
pub(in crate::cli) struct Tail {
    /// Form of the output.
    #[arg(short, long, value_enum, env = "TCPWHY_OUTPUT", default_value = "text", value_name = "FORM")]
    output: Output,
    /// The agent's socket [default: /run/tcpwhy/tcpwhy.sock, or below `XDG_RUNTIME_DIR`].
    #[arg(long, value_name = "PATH", env = "TCPWHY_SOCKET")]
    socket: Option<PathBuf>,
    /// Begin with what the agent still remembers since then: 90s, 10m, 14:05, 2026-01-31T13:05:00Z.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// Wait for an agent that does not run or ended, and go on with it.
    #[arg(short, long)]
    follow: bool,
    /// Attach to the kernel without an agent; needs the same rights.
    #[arg(long, conflicts_with_all = ["since", "follow"])]
    standalone: bool,
    #[command(flatten)]
    style: StyleArgs,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    attach: AttachArgs,
}

impl Tail {
    /// Whether it attaches itself.
    pub(in crate::cli) fn attaches(&self) -> bool {
        self.standalone
    }

    /// With rights if it [attaches](Self::attaches).
    pub(in crate::cli) async fn run(self, rights: Option<Rights>) -> anyhow::Result<()> {
        let mut signals = Signals::new()?;
        tokio::select! {
            () = signals.next() => Ok(()),
            result = self.print(rights) => printer::end(result),
        }
    }

    async fn print(self, rights: Option<Rights>) -> anyhow::Result<()> {
        let filter = Filter::from(self.filter);
        let formatter = Formatter::new(self.output, self.style.lines());
        if let Some(rights) = rights {
            let attach = self.attach;
            let loaded = rights.spend(async move { attach.load() }).await??;
            return standalone(loaded, &filter, formatter).await;
        }
        let socket = self.socket.unwrap_or_else(paths::for_reader);
        let query = Query { filter, since: self.since };
        tokio::select! {
            result = follow(&socket, query, formatter, Printer::stdout(), self.follow) => result,
            () = printer::stdout_closed() => Ok(()),
        }
    }
}

async fn standalone(loaded: Loaded, filter: &Filter, formatter: Formatter) -> anyhow::Result<()> {
    let reader = loaded.subscribe();
    let Attached { host, mut source, .. } = loaded.start(None).await?;
    tokio::select! {
        result = print_feed(reader, filter, host.hz, formatter) => result,
        result = source.ended() => result,
    }
}

/// Prints the agent's lines, and if `again` also those of the next agent. Whatever came before an end is printed
/// before the end is reported.
pub(in crate::cli) async fn follow(
    socket: &Path,
    mut query: Query,
    mut formatter: Formatter,
    printer: Printer,
    again: bool,
) -> anyhow::Result<()> {
    let mut header = Some(formatter.header());
    let result = loop {
        let end = match listen(socket, &query, &mut header, &mut formatter, &printer).await {
            Ok(()) => break Ok(()),
            Err(Ended::Agent(error)) if again && error.may_pass() => error,
            Err(Ended::Agent(error)) => break Err(error.into()),
            Err(Ended::Line(error)) => break Err(error.into()),
        };
        log::warn!("{end}: waiting for an agent");
        // What the next one has seen before it answers.
        query.since = Some(Timestamp::now());
        while client::open(socket, "/v1/status").await.is_err() {
            tokio::time::sleep(RETRY).await;
        }
        log::info!("an agent answers again");
    };
    printer.finish().await?;
    result
}

/// Why there are no more lines.
enum Ended {
    Agent(ClientError),
    Line(LineError),
}

/// Prints until the stream ends; `Ok` when nobody reads any more.
async fn listen(
    socket: &Path,
    query: &Query,
    header: &mut Option<String>,
    formatter: &mut Formatter,
    printer: &Printer,
) -> Result<(), Ended> {
    let request = format!("/v1/events?{}", query.to_query());
    let mut lines = client::open(socket, &request).await.map_err(Ended::Agent)?;
    let mut text = header.take().unwrap_or_default();
    while printer.print(text).await.is_ok() {
        let lines = lines.next().await.map_err(Ended::Agent)?;
        text =
            lines.iter().map(|line| formatter.line(line)).collect::<Result<_, _>>().map_err(Ended::Line)?;
    }
    Ok(())
}
