//! `tcpwhy why`

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use agent_correlate::observed::ConnectionId;
use agent_correlate::query::Selector;
use agent_correlate::shared::SharedId;
use anyhow::Context as _;
use clap::{ArgGroup, Args};

use super::kubectl::NodeReport;
use crate::answers::why::{Wanted, WhyReport, svg};
use crate::cli::flags::place::PlaceArgs;
use crate::cli::flags::{filter, paths};
use crate::cli::output::Output;
use crate::cli::{client, printer};

pub(in crate::cli) mod text;

/// Say why a connection stalled or died: its story, the cause, what speaks for it, what comes, what to change.
///
/// Asks the agent of this host, which remembers connections with trouble, living and dead. All conditions
/// must hold; of several connections the one with the last event is told.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(PlaceArgs::NAMES),
    after_help = "Examples:
  tcpwhy why 198.51.100.1:443             the connection with this end
  tcpwhy why --last                       the last one that had trouble
  tcpwhy why --comm nginx --port 8080     the last one of nginx on that port
  tcpwhy why --last --svg last.svg        a picture of its timeline as well
  tcpwhy why -n shop --pod web-7d9f4c-x2v5p
                                          the last one of that pod, dead or alive
  tcpwhy why --id 2a -o json              the name that `tcpwhy tail` told, for programs

Exit status: 0 told, 1 no connection matches or no agent runs, 64 wrong usage.")]
pub(in crate::cli) struct Why {
    /// Address and port of either end, or an address alone.
    #[arg(group = "which", value_name = "ADDRESS:PORT", value_parser = end)]
    connection: Option<Selector>,
    /// Port of either end.
    #[arg(long, group = "which")]
    port: Option<u16>,
    /// Its name in `tcpwhy tail -o json`: the socket cookie, hexadecimal as `ss -e` has it.
    #[arg(long, alias = "cookie", group = "which", value_parser = id)]
    id: Option<ConnectionId>,
    /// What both of its hosts call it (`shared_id`), hexadecimal.
    #[arg(long, group = "which", value_name = "ID")]
    shared_id: Option<SharedId>,
    /// Process that owns it, holds it or ended it.
    #[arg(long, group = "which")]
    pid: Option<u32>,
    /// Name of such a process, as in `/proc/PID/comm`.
    #[arg(long, group = "which", value_name = "NAME")]
    comm: Option<String>,
    /// The one with the last event.
    #[arg(long, group = "which")]
    last: bool,
    #[command(flatten)]
    place: PlaceArgs,
    /// Network namespace: its inode, or a file that stands for it.
    #[arg(long, value_parser = filter::netns)]
    netns: Option<u32>,
    /// Form of the output.
    #[arg(short, long, value_enum, env = "TCPWHY_OUTPUT", default_value = "text", value_name = "FORM")]
    output: Output,
    /// Write a picture of its timeline too, as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The agent's socket [default: /run/tcpwhy/tcpwhy.sock, or below `XDG_RUNTIME_DIR`].
    #[arg(long, value_name = "PATH", env = "TCPWHY_SOCKET")]
    socket: Option<PathBuf>,
}

impl Why {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<()> {
        let socket = self.socket.clone().unwrap_or_else(paths::for_reader);
        let query = format!("/v1/why?{}", self.wanted().to_query());
        let answer = client::ask(&socket, &query).await?;
        if let Some(file) = &self.svg {
            let picture = svg::draw(&serde_json::from_str(&answer)?);
            std::fs::write(file, picture)
                .with_context(|| format!("write the picture to {}", file.display()))?;
        }
        let text = match self.output {
            Output::Json => answer,
            Output::Text => text(&serde_json::from_str(&answer)?),
        };
        printer::end(std::io::stdout().write_all(text.as_bytes()).map_err(Into::into))
    }

    fn wanted(&self) -> Wanted {
        let comm = self.comm.as_deref().map(|comm| Selector::Comm(filter::cut(comm).into()));
        let conditions = [
            self.connection.clone(),
            self.port.map(Selector::Port),
            self.id.map(Selector::Id),
            self.shared_id.map(Selector::Shared),
            self.pid.map(Selector::Pid),
            comm,
            self.netns.map(Selector::Netns),
        ];
        Wanted { conditions: conditions.into_iter().flatten().collect(), place: self.place.clone().into() }
    }
}

fn text(report: &WhyReport) -> String {
    text::page(report, width(), printer::colour())
}

/// The story of one connection from its nodes.
pub(in crate::cli) fn both(ends: &[NodeReport]) -> String {
    text::both(ends, width(), printer::colour())
}

fn width() -> usize {
    let width = terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0));
    width.clamp(40, 120)
}

fn end(text: &str) -> Result<Selector, String> {
    let end = text.parse::<SocketAddr>().map(|end| SocketAddr::new(end.ip().to_canonical(), end.port()));
    let address = || text.parse::<IpAddr>().map(|address| Selector::Address(address.to_canonical()));
    end.map(Selector::End)
        .or_else(|_| address())
        .map_err(|_| "neither ADDRESS:PORT (of IPv6 [ADDRESS]:PORT) nor an address".to_owned())
}

fn id(text: &str) -> Result<ConnectionId, String> {
    let digits = text.trim_start_matches("0x");
    u64::from_str_radix(digits, 16).map(ConnectionId).map_err(|error| error.to_string())
}
