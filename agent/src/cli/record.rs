//! `tcpwhy record`

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::attach::{self, AttachArgs, age};
use super::filter::netns;
use super::signals::Signals;
use crate::correlate::observed::Observed;
use crate::event::Fact;
use crate::export::metrics::Counters as _;
use crate::pipeline::Pipeline;
use crate::source::frame::Frame;
use crate::source::kernel::ring::Ring;
use crate::source::kernel::{self, Told, facts};
use crate::source::recording::{Recorder, Summary, WriteError, Writer};

/// How often what has come is written out, and losses are told.
const TICK: Duration = Duration::from_secs(1);

/// The exact counters are read every so many ticks: reading the full map takes 20 ms.
const COUNTS_TICKS: u32 = 10;

/// At the end, records that the kernel side wrote and woke nobody for are waited for this long.
const LAST_RECORDS: Duration = Duration::from_millis(50);

/// At the end, what the kernel goes on to write is read for this long.
const LAST_DRAIN: Duration = Duration::from_secs(1);

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

Needs root, or CAP_BPF and CAP_PERFMON. Ends with 0 on Ctrl-C, with 1 when the file takes no more.")]
pub(super) struct Record {
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
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut signals = Signals::new()?;
        let mut session = Session::start(&self)?;
        let end = async {
            tokio::select! {
                () = signals.next() => (),
                () = sleep(self.duration.unwrap_or(Duration::MAX)) => (),
            }
        };
        let result = session.record(end).await;
        tokio::select! {
            result = session.finish(result) => result,
            () = signals.next() => bail!("{} takes no more: its end is not written", self.file.display()),
        }
    }
}

/// A recording that goes on.
struct Session {
    ring: Ring,
    counters: kernel::Counters,
    told: Told,
    /// Knows when a walk over open files tells something new, as in the agent.
    pipeline: Pipeline<fn(Arc<Observed>)>,
    netns: Vec<u32>,
    frames: Vec<Frame>,
    recorder: Recorder,
    path: PathBuf,
    started: Instant,
    ticks: u32,
}

impl Session {
    /// Attaches first: where that fails, no file is made.
    fn start(args: &Record) -> anyhow::Result<Self> {
        let Record { file, duration: _, overwrite, netns, attach } = args;
        let (ring, counters) = kernel::load(&attach.options())?;
        attach::tell_probes(&counters);
        let writer = Writer::new(open(file, *overwrite)?, file)?;
        Ok(Self {
            ring,
            counters,
            told: Told::default(),
            pipeline: Pipeline::new(attach.limits(), |_| ()),
            netns: netns.clone(),
            frames: Vec::new(),
            recorder: Recorder::new(writer).context("start a thread")?,
            path: file.clone(),
            started: Instant::now(),
            ticks: 0,
        })
    }

    async fn record(&mut self, end: impl Future<Output = ()>) -> anyhow::Result<()> {
        self.ring.tell_facts(&mut self.frames).context("ask the host")?;
        // Listeners and holders from before the start.
        self.walk()?;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(end);
        loop {
            // Losing a race loses nothing: `next` is cancel safe.
            tokio::select! {
                () = &mut end => return self.last().await,
                error = self.recorder.failed() => return Ok(unless_nobody_reads(error)?),
                result = self.ring.next(&mut self.frames) => result.context("read the ring")?,
                _ = ticks.tick() => self.tick()?,
            }
            self.take();
            if self.pipeline.correlator().wants_walk(facts::monotonic()?) {
                self.walk()?;
            }
        }
    }

    fn walk(&mut self) -> anyhow::Result<()> {
        let failed = "walk over the open files";
        let Some(mut walk) = self.ring.begin_walk().context(failed)? else { return Ok(()) };
        while walk.next(&mut self.frames).context(failed)? {
            self.take();
        }
        self.ring.end_walk(&walk, &mut self.frames).context(failed)?;
        self.take();
        Ok(())
    }

    /// Hands on what has come.
    fn take(&mut self) {
        let mut frames = std::mem::take(&mut self.frames);
        for frame in &frames {
            self.pipeline.push(frame);
        }
        if !self.netns.is_empty() {
            frames.retain(|frame| frame.netns().is_none_or(|netns| self.netns.contains(&netns)));
        }
        self.recorder.tap(frames);
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        if self.ticks.is_multiple_of(COUNTS_TICKS) {
            self.tell_counts()?;
        }
        self.ticks += 1;
        self.tell_health()?;
        self.take();
        self.recorder.flush();
        self.show_progress();
        Ok(())
    }

    fn tell_counts(&mut self) -> anyhow::Result<()> {
        let mut counts = self.counters.counts().map_err(anyhow::Error::from_boxed).context("read COUNTS")?;
        counts.retain(|(key, _)| self.netns.is_empty() || self.netns.contains(&key.netns));
        let facts = self.told.counts(facts::monotonic()?, &counts);
        self.frames.extend(facts.iter().map(Frame::fact));
        self.frames.extend(self.counters.tcp_memory().map(|memory| Frame::fact(&Fact::TcpMemory(memory))));
        Ok(())
    }

    fn tell_health(&mut self) -> anyhow::Result<()> {
        let health = self.counters.health().map_err(anyhow::Error::from_boxed).context("read HEALTH")?;
        let facts = self.told.health(facts::monotonic()?, &health);
        self.frames.extend(facts.iter().map(Frame::fact));
        Ok(())
    }

    fn show_progress(&self) {
        if io::stderr().is_terminal() {
            eprint!("\r{}\x1b[K", self.summary());
        }
    }

    fn summary(&self) -> String {
        let Summary { frames, bytes, missed } = self.recorder.summary();
        let seconds = self.started.elapsed().as_secs_f64();
        let lost = self.told.lost();
        format!(
            "{frames} frames in {seconds:.1} s, {:.1} KiB; lost: {lost} on the way from the kernel, \
             {missed} on the way to the file",
            bytes as f64 / 1024.0
        )
    }

    /// What is under way when the end comes.
    async fn last(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + LAST_DRAIN;
        while Instant::now() < until
            && let Ok(result) = timeout(LAST_RECORDS, self.ring.next(&mut self.frames)).await
        {
            result.context("read the ring")?;
            self.take();
        }
        self.tell_counts()?;
        self.tell_health()?;
        self.take();
        Ok(())
    }

    /// Waits for the file. After a failure what was written stays as it is.
    async fn finish(mut self, result: anyhow::Result<()>) -> anyhow::Result<()> {
        let written = self.recorder.finish().await.or_else(unless_nobody_reads);
        if io::stderr().is_terminal() {
            eprintln!();
        }
        log::info!("{}: {}", self.path.display(), self.summary());
        result.and(Ok(written?))
    }
}

/// A reader that goes is an end like any other.
fn unless_nobody_reads(error: WriteError) -> Result<(), WriteError> {
    if error.source.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

/// Refuses to replace a file unless told to, and to write to a terminal.
fn open(path: &Path, overwrite: bool) -> anyhow::Result<File> {
    if path == Path::new("-") {
        let stdout = io::stdout();
        if stdout.is_terminal() {
            bail!("a recording is not for a terminal: name a file, or a command to read it");
        }
        return Ok(stdout.as_fd().try_clone_to_owned().context("open the standard output")?.into());
    }
    let create = || format!("create {}", path.display());
    let mut options = OpenOptions::new();
    let file =
        options.write(true).create(true).truncate(false).mode(0o600).open(path).with_context(create)?;
    let old = file.metadata().with_context(create)?;
    if old.is_file() && old.len() > 0 {
        if !overwrite {
            bail!("{} is there already: name another file, or add --overwrite", path.display());
        }
        file.set_len(0).with_context(create)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_private_and_not_replaced_unawares() {
        let path = std::env::temp_dir().join(format!("tcpwhy-record-{}.rec", std::process::id()));
        let file = open(&path, false).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "old").unwrap();
        assert!(open(&path, false).unwrap_err().to_string().ends_with("or add --overwrite"));
        assert_eq!(open(&path, true).unwrap().metadata().unwrap().len(), 0);
        fs::remove_file(&path).unwrap();
        open(Path::new("/dev/null"), false).unwrap();
    }
}
