//! `tcpwhy agent`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};

use super::attach::{self, AttachArgs, Attached};
use super::output::{Output, print_feed};
use super::signals::Signals;
use super::{paths, printer};
use crate::export::filter::Filter;
use crate::export::metrics::Metrics;
use crate::export::servers::{Bound, Services};

/// Attach to the kernel and serve metrics and events until told to end.
///
/// `http://ADDRESS/metrics` is for Prometheus, `/healthz` and `/readyz` for whoever runs the agent. Events,
/// which name peers and processes, are on a unix socket for its owner and group: see `tcpwhy tail`, or
/// `curl -N --unix-socket PATH http://tcpwhy/v1/events`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  tcpwhy agent                          metrics on 127.0.0.1:9752
  tcpwhy agent --listen 0.0.0.0:9752    metrics for other hosts
  tcpwhy agent --tail --listen 127.0.0.1:0
                                        events in this terminal, metrics on any free port

Needs root, or CAP_BPF and CAP_PERFMON.")]
pub(super) struct Agent {
    /// Where to serve metrics and health; port 0 takes any.
    // Prometheus's list of exporters fills 9100 to 9999; IANA has nothing at 9752.
    #[arg(long, value_name = "ADDRESS", env = "TCPWHY_LISTEN", default_value = "127.0.0.1:9752")]
    listen: SocketAddr,
    /// Where to serve events [default: /run/tcpwhy/tcpwhy.sock; not as root: below `XDG_RUNTIME_DIR`].
    #[arg(long, value_name = "PATH", env = "TCPWHY_SOCKET")]
    socket: Option<PathBuf>,
    /// Print events in this terminal too.
    #[arg(long, env = "TCPWHY_TAIL", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    tail: bool,
    #[command(flatten)]
    attach: AttachArgs,
}

impl Agent {
    /// Binds before it attaches: what another agent holds ends this one at once.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let signals = Signals::new()?;
        let socket = self.socket.unwrap_or_else(paths::for_agent);
        let bound = Bound::bind(self.listen, &socket).await?;
        let attached = attach::attach(&self.attach)?;
        serve(bound, attached, self.tail, signals).await
    }
}

/// Serves until a signal, the source's end, or, with `tail`, the end of who reads it.
pub(super) async fn serve(
    bound: Bound,
    attached: Attached,
    tail: bool,
    mut signals: Signals,
) -> anyhow::Result<()> {
    let Attached { counters, tallies, stories, feed, host, ended } = attached;
    let metrics = Arc::new(Metrics::new(counters, tallies, feed.clone(), Arc::clone(&host)));
    let reader = tail.then(|| feed.subscribe());
    let servers = bound.serve(&Services { metrics, feed, host: Arc::clone(&host), stories });
    let printed = async {
        match reader {
            Some(reader) => print_feed(reader, &Filter::default(), host.hz, Output::Text).await,
            None => std::future::pending().await,
        }
    };
    let result = tokio::select! {
        () = signals.next() => Ok(()),
        result = printed => printer::end(result),
        result = ended => result.context("read the kernel's events").and_then(|ended| ended),
    };
    servers.shutdown().await;
    result
}
