//! `tcpwhy record`

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_model::counters::Counters;
use agent_source::blocking;
use agent_source::recording;
use agent_source::recording::Summary;
use anyhow::bail;
use clap::Args;
use tokio::time::{interval, sleep};

use crate::cli::flags::attach::{AttachArgs, Attached, age};
use crate::cli::flags::filter::netns;
use crate::cli::flags::record_file::{self, unless_nobody_reads};
use crate::cli::rights::Rights;
use crate::cli::signals::Signals;

/// How often the size so far is printed to a terminal.
const TICK: Duration = Duration::from_secs(1);

/// Write the raw stream of events to a file, for `tcpwhy replay`.
///
/// Attaches to the kernel by itself. The file names peers and processes: only its owner may read it. It is
/// written every second, and what was written can be read whatever ends the recording.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  tcpwhy record trouble.rec                             until Ctrl-C
  tcpwhy record --duration 30s trouble.rec
  tcpwhy record --netns /run/netns/blue trouble.rec     nothing of other namespaces
  tcpwhy record - | ssh HOST 'cat > trouble.rec'

Needs root, or CAP_BPF and CAP_PERFMON.

Exit status: 0 on Ctrl-C or after --duration, 1 when the file takes no more, 64 wrong usage.")]
pub(in crate::cli) struct Record {
    /// The recording; - is the standard output.
    file: PathBuf,
    /// How long, like 90s, 30m or 1h [default: until Ctrl-C].
    #[arg(long, value_name = "TIME", value_parser = age)]
    duration: Option<Duration>,
    /// Replace a file that is there.
    #[arg(long)]
    overwrite: bool,
    /// Record this network namespace only: its inode, or a file that stands for it (/run/netns/NAME).
    #[arg(long, value_delimiter = ',', value_parser = netns)]
    netns: Vec<u32>,
    #[command(flatten)]
    attach: AttachArgs,
}

impl Record {
    /// Attaches first: where that fails, no file is made.
    pub(in crate::cli) async fn run(self, rights: Rights) -> anyhow::Result<()> {
        let Self { file, duration, overwrite, netns, attach } = self;
        let mut signals = Signals::new()?;
        let path = file.clone();
        let open = async move { anyhow::Ok((attach.load()?, record_file::open(&path, overwrite)?)) };
        let (loaded, writer) = rights.spend(open).await??;
        let (tap, mut recording) = record_file::start(writer, netns, loaded.counters())?;
        let Attached { counters, mut source, .. } = loaded.start(Some(tap)).await?;
        let written = recording.progress();
        let progress = Progress { file: file.clone().into(), counters, written, started: Instant::now() };
        let result = tokio::select! {
            () = signals.next() => Ok(()),
            () = sleep(duration.unwrap_or(Duration::MAX)) => Ok(()),
            () = progress.show() => Ok(()),
            result = recording.ended() => result.or_else(unless_nobody_reads).map_err(Into::into),
            result = source.ended() => result,
        };
        let end = async {
            let stopped = source.stop().await;
            let written = recording.ended().await.or_else(unless_nobody_reads);
            progress.end();
            result.and(stopped).and(Ok(written?))
        };
        tokio::select! {
            result = end => result,
            () = signals.next() => bail!("{} takes no more: its end is not written", file.display()),
        }
    }
}

/// What is said of a recording under way.
#[derive(Clone)]
struct Progress {
    file: Arc<Path>,
    counters: Arc<dyn Counters>,
    written: recording::Progress,
    started: Instant,
}

impl Progress {
    /// On a terminal, for as long as the recording goes on. A terminal that stands still holds up nobody who waits
    /// for Ctrl-C.
    async fn show(&self) {
        let mut ticks = interval(TICK);
        loop {
            ticks.tick().await;
            if io::stderr().is_terminal() {
                let progress = self.clone();
                blocking::run(move || eprint!("\r{}\x1b[K", progress.summary())).await;
            }
        }
    }

    fn end(&self) {
        if io::stderr().is_terminal() {
            eprintln!();
        }
        log::info!("{}: {}", self.file.display(), self.summary());
    }

    fn summary(&self) -> String {
        let Summary { frames, bytes, missed } = self.written.summary();
        let seconds = self.started.elapsed().as_secs_f64();
        let health = self.counters.health().unwrap_or_default();
        let lost: u64 = health.iter().map(|row| row.lost_ring + row.lost_read).sum();
        format!(
            "{frames} frames in {seconds:.1} s, {:.1} KiB; lost: {lost} on the way from the kernel, \
             {missed} on the way to the file",
            bytes as f64 / 1024.0
        )
    }
}
