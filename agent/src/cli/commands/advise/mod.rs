//! `tcpwhy advise`

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent_advise::{Gathered, advise, gather};
use agent_correlate::observed::Observed;
use agent_model::limits::Limits;
use agent_source::host::{HostMemory, settings};
use anyhow::Context as _;
use clap::Args;

use super::replay;
use crate::cli::client::{self, ClientError};
use crate::cli::flags::{filter, paths};
use crate::cli::output::Output;
use crate::cli::printer;
use crate::pipeline::Pipeline;
use crate::schema::json_line;

mod text;

/// Say which settings are worth changing on this host, from what was observed.
///
/// Asks the agent what it remembers of stalls, deaths and process families, and reads the settings of this
/// network namespace. Each piece of advice has what was seen, what the change would have done, its risk and
/// its command. Nothing is changed.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  tcpwhy advise                        this host, from what its agent saw
  tcpwhy advise trouble.rec            from a recording
  tcpwhy advise --netns /run/netns/blue
  tcpwhy advise -o json | jq -r '.advice[].command'

Without an agent only the host's own settings and counters are looked at.

Exit status: 0 told, advice or none, 1 no agent at --socket or a recording that is not whole, 64 wrong usage.")]
pub(in crate::cli) struct Advise {
    /// A recording to advise from, in place of the agent; - is the standard input.
    recording: Option<PathBuf>,
    /// Of network namespaces this one only: its inode, or a file that stands for it (/run/netns/NAME).
    #[arg(long, value_parser = filter::netns)]
    netns: Option<u32>,
    /// Form of the output.
    #[arg(short, long, value_enum, env = "TCPWHY_OUTPUT", default_value = "text", value_name = "FORM")]
    output: Output,
    /// The agent's socket [default: /run/tcpwhy/tcpwhy.sock, or below `XDG_RUNTIME_DIR`].
    #[arg(long, value_name = "PATH", env = "TCPWHY_SOCKET", conflicts_with = "recording")]
    socket: Option<PathBuf>,
}

impl Advise {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<()> {
        let gathered = match &self.recording {
            Some(file) => recorded(file)?,
            None => here(self.ask().await?),
        };
        let report = advise(&gathered, self.netns);
        let text = match self.output {
            Output::Json => json_line(&report),
            Output::Text => {
                let width = terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0));
                text::page(&report, width.clamp(40, 120), printer::colour())
            }
        };
        printer::end(std::io::stdout().write_all(text.as_bytes()).map_err(Into::into))
    }

    /// What the agent knows. Where none runs, and none was named, that is nothing.
    async fn ask(&self) -> anyhow::Result<Gathered> {
        let socket = self.socket.clone().unwrap_or_else(paths::for_reader);
        match client::ask(&socket, "/v1/advise").await {
            Ok(answer) => serde_json::from_str(&answer).context("read the agent's answer"),
            Err(ClientError::NoAgent(_)) if self.socket.is_none() => Ok(Gathered::default()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Adds what this process sees: its own namespace comes first, with its counters.
fn here(mut gathered: Gathered) -> Gathered {
    let own = settings::settings();
    let netns = own.netns;
    if gathered.settings.first().is_none_or(|first| first.netns != netns) {
        gathered.memory = HostMemory::new().tcp().ok().or(gathered.memory);
        gathered.settings.retain(|known| known.netns != netns);
        gathered.settings.insert(0, own);
    }
    gathered.entrances = entrances(&gathered, netns);
    gathered
}

fn recorded(file: &Path) -> anyhow::Result<Gathered> {
    let reader = replay::open(file)?;
    let mut pipeline = Pipeline::new(Limits::default(), |_: Arc<Observed>| ());
    let whole = replay::frames(reader, file, |frame| {
        pipeline.push(&frame);
        Ok(())
    });
    pipeline.settle(u64::MAX);
    let correlator = pipeline.correlator();
    let mut gathered = gather(correlator, pipeline.tracker(), correlator.span().map_or(0, |(_, last)| last));
    // Of the namespace in which the recording was made the commands are as they are.
    let own = gathered.settings.first().map(|settings| (settings.netns, String::new()));
    gathered.entrances = own.into_iter().collect();
    whole.map(|()| gathered)
}

/// How to get into each namespace, by a name that was given to it or by a process that is in it.
fn entrances(gathered: &Gathered, own: u32) -> BTreeMap<u32, String> {
    let mut wanted: BTreeSet<u32> = gathered.outcomes.iter().map(|outcome| outcome.netns).collect();
    let mut found = BTreeMap::from([(own, String::new())]);
    wanted.remove(&own);
    let named =
        directory("/run/netns").map(|path| (inode(&path), format!("nsenter --net={} ", path.display())));
    let processes = directory("/proc").filter_map(|path| {
        let pid: u32 = path.file_name()?.to_str()?.parse().ok()?;
        Some((inode(&path.join("ns/net")), format!("nsenter -t {pid} -n ")))
    });
    for (inode, words) in named.chain(processes) {
        if wanted.is_empty() {
            break;
        }
        if let Some(netns) = inode.filter(|netns| wanted.remove(netns)) {
            found.insert(netns, words);
        }
    }
    found
}

fn directory(path: &str) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn inode(path: &Path) -> Option<u32> {
    u32::try_from(fs::metadata(path).ok()?.ino()).ok()
}
