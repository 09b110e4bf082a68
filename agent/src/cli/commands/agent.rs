//! `tcpwhy agent`

use std::fs::File;
use std::future::pending;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use agent_source::recording::{Recording, Summary, Writer};
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};

use crate::cli::flags::attach::{AttachArgs, Attached, Loaded};
use crate::cli::flags::otlp::OtlpArgs;
use crate::cli::flags::{paths, record_file};
use crate::cli::output::{Formatter, Output, print_feed};
use crate::cli::printer;
use crate::cli::rights::Rights;
use crate::cli::signals::Signals;
use crate::filter::Filter;
use crate::metrics::Metrics;
use crate::otlp;
use crate::otlp::Exporter;
use crate::serve::feed::Reader;
use crate::serve::page::loopback;
use crate::serve::servers::{Bound, Services};
use crate::text::LineStyle;

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
  tcpwhy agent --page 127.0.0.1:9753    a live page for a browser of this host
  tcpwhy agent --record today.rec       for `tcpwhy replay`; a full disk ends the recording alone

Needs root, or CAP_BPF and CAP_PERFMON. In a cluster see docs/kubernetes.md.

Exit status: 0 told to end, 1 cannot attach or listen, 64 wrong usage.")]
pub(in crate::cli) struct Agent {
    /// Where to serve metrics and health; port 0 takes any.
    // Prometheus's list of exporters fills 9100 to 9999; IANA has nothing at 9752.
    #[arg(long, value_name = "ADDRESS", env = "TCPWHY_LISTEN", default_value = "127.0.0.1:9752")]
    listen: SocketAddr,
    /// Where to serve events [default: /run/tcpwhy/tcpwhy.sock; not as root: below `XDG_RUNTIME_DIR`].
    #[arg(long, value_name = "PATH", env = "TCPWHY_SOCKET")]
    socket: Option<PathBuf>,
    /// Serve a live page for a browser of this host there: a loopback address, like 127.0.0.1:9753. Every
    /// user of this host can read it.
    #[arg(long, value_name = "ADDRESS", env = "TCPWHY_PAGE", value_parser = loopback)]
    page: Option<SocketAddr>,
    /// Print events in this terminal too.
    #[arg(long, env = "TCPWHY_TAIL", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    tail: bool,
    /// Write the raw stream of events to this file too, for `tcpwhy replay`.
    #[arg(long, value_name = "FILE", env = "TCPWHY_RECORD")]
    record: Option<PathBuf>,
    /// Replace a recording that is there.
    #[arg(long, requires = "record")]
    overwrite: bool,
    #[command(flatten)]
    otlp: OtlpArgs,
    #[command(flatten)]
    attach: AttachArgs,
}

/// All that takes rights.
struct Open {
    bound: Bound,
    loaded: Loaded,
    writer: Option<Writer<File>>,
}

impl Agent {
    /// Serves with no rights left.
    pub(in crate::cli) async fn run(self, rights: Rights) -> anyhow::Result<()> {
        let (signals, tail, collector) = (Signals::new()?, self.tail, self.otlp.collector()?);
        let node = self.attach.names.node().map(ToOwned::to_owned);
        let Open { bound, loaded, writer } = rights.spend(self.open()).await??;
        let start = |writer| record_file::start(writer, Vec::new(), loaded.counters());
        let (tap, recording) = writer.map(start).transpose()?.unzip();
        let reader = tail.then(|| loaded.subscribe());
        let exporter = collector.map(|collector| {
            Exporter::start(collector, loaded.subscribe(), &otlp::host_name(), node.as_deref())
        });
        let attached = loaded.start(tap).await?;
        serve(bound, attached, Readers { terminal: reader, exporter, recording }, signals).await
    }

    /// Binds before it attaches: what another agent holds ends this one at once.
    async fn open(self) -> anyhow::Result<Open> {
        let Self { listen, socket, page, tail: _, record, overwrite, otlp: _, attach } = self;
        let socket = socket.unwrap_or_else(paths::for_agent);
        let mut bound = Bound::bind(listen, &socket).await?;
        if let Some(page) = page {
            bound = bound.with_page(page).await?;
        }
        let loaded = attach.load()?;
        let writer = record.map(|file| record_file::open(&file, overwrite)).transpose()?;
        Ok(Open { bound, loaded, writer })
    }
}

/// Receivers of diagnoses that do not ask for them.
#[derive(Default)]
pub(in crate::cli) struct Readers {
    pub(in crate::cli) terminal: Option<Reader>,
    pub(in crate::cli) exporter: Option<Exporter>,
    pub(in crate::cli) recording: Option<Recording>,
}

/// Serves until a signal, the source's end, or the end of who reads in this terminal. What is under
/// way then still reaches the recording and the readers, unless another signal comes.
pub(in crate::cli) async fn serve(
    bound: Bound,
    attached: Attached,
    readers: Readers,
    mut signals: Signals,
) -> anyhow::Result<()> {
    let Attached { counters, tallies, answers, names, feed, host, mut source } = attached;
    let Readers { terminal, exporter, mut recording } = readers;
    let metrics = Metrics::new(counters, tallies, feed.clone(), Arc::clone(&host)).with_names(names);
    let metrics = Arc::new(metrics.with_exported(exporter.as_ref().map(Exporter::exported)));
    let servers = bound.serve(&Services { metrics, feed, host: Arc::clone(&host), answers });
    let result = tokio::select! {
        () = signals.next() => Ok(()),
        result = print(terminal, host.hz) => printer::end(result),
        result = source.ended() => result,
        never = outlive(&mut recording) => never,
    };
    let end = async {
        let stopped = source.stop().await;
        finish(recording).await;
        if let Some(exporter) = exporter {
            exporter.finish().await;
        }
        servers.shutdown().await;
        stopped
    };
    tokio::select! {
        stopped = end => result.and(stopped),
        () = signals.next() => result,
    }
}

async fn print(reader: Option<Reader>, hz: u32) -> anyhow::Result<()> {
    match reader {
        Some(reader) => {
            print_feed(
                reader,
                &Filter::default(),
                hz,
                Formatter::new(Output::Text, LineStyle::usual(printer::colour())),
            )
            .await
        }
        None => pending().await,
    }
}

/// A disk that takes no more ends the recording, not the agent.
async fn outlive<T>(recording: &mut Option<Recording>) -> T {
    if let Some(recording) = recording {
        ended(recording).await;
    }
    pending().await
}

/// Waits until all is written.
async fn finish(recording: Option<Recording>) {
    let Some(mut recording) = recording else { return };
    ended(&mut recording).await;
    let Summary { frames, bytes, missed } = recording.progress().summary();
    log::info!("recorded {frames} frames, {:.1} KiB, missed {missed}", bytes as f64 / 1024.0);
}

/// Waits for a recording's end, and logs the error that ended it.
async fn ended(recording: &mut Recording) {
    if let Err(error) = recording.ended().await {
        log::error!("the recording ends here: {:#}", anyhow::Error::new(error));
    }
}
