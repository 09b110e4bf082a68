//! Where names come from: directories of the cgroup tree, and the Kubernetes API. Both send facts, which go
//! the way of all others; without them everything works but the names.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agent_model::event::Fact;
use agent_model::frame::Frame;
use tokio::sync::mpsc;

use super::cgroups::Cgroups;
use super::kubernetes::{self, Api};

/// Facts that wait for the pipeline: a node full of pods at once. A source that finds no room waits.
const WAITING: usize = 1024;

/// Facts taken at a time.
const BATCH: usize = 256;

/// Whether a source of names answers.
#[derive(Debug)]
pub struct NamesUp {
    /// Its word.
    pub source: &'static str,
    up: AtomicBool,
}

/// Which names to look for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Root of the cgroup v2 tree.
    pub cgroups: Option<PathBuf>,
    /// The Kubernetes API.
    pub kubernetes: Option<Api>,
}

/// Facts that name.
#[derive(Debug)]
pub struct Names {
    facts: mpsc::Receiver<Fact>,
    first: Vec<Frame>,
    /// The sources in use.
    pub up: Vec<Arc<NamesUp>>,
}

impl NamesUp {
    /// One that has not answered yet.
    pub fn new(source: &'static str) -> Self {
        Self { source, up: AtomicBool::new(false) }
    }

    /// Whether it answers.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
    }
}

impl Names {
    /// Looks at the cgroups there are, which takes a while where there are many, and goes on looking on tasks of its
    /// own. What fails is logged: the agent works without names.
    pub fn start(wanted: Wanted) -> Self {
        let (to, facts) = mpsc::channel(WAITING);
        let mut names = Self { facts, first: Vec::new(), up: Vec::new() };
        let Wanted { cgroups, kubernetes } = wanted;
        if let Some(root) = cgroups {
            names.start_cgroups(&root, to.clone());
        }
        if let Some(api) = kubernetes {
            let up = names.source("kubernetes");
            tokio::spawn(kubernetes::run(api, to, up));
        }
        names
    }

    fn source(&mut self, source: &'static str) -> Arc<NamesUp> {
        let up = Arc::new(NamesUp::new(source));
        self.up.push(Arc::clone(&up));
        up
    }

    fn start_cgroups(&mut self, root: &std::path::Path, to: mpsc::Sender<Fact>) {
        let up = self.source("cgroups");
        let mut facts = Vec::new();
        match Cgroups::open(root, &mut facts) {
            Ok(cgroups) => {
                up.set(true);
                self.first = facts.into_iter().map(Frame::fact).collect();
                tokio::spawn(cgroups.run(to, up));
            }
            Err(error) => log::warn!("no names of pods and units: read {}: {error}", root.display()),
        }
    }

    /// Appends what was there at the start; must come before the first record.
    pub fn append_first(&mut self, frames: &mut Vec<Frame>) {
        frames.append(&mut self.first);
    }

    /// Waits for more and appends it; for ever where there is no source. Cancel safe.
    pub async fn next(&mut self, frames: &mut Vec<Frame>) {
        let Some(fact) = self.facts.recv().await else { return std::future::pending().await };
        frames.push(Frame::fact(fact));
        self.ready(frames);
    }

    /// Appends what has come already.
    pub fn ready(&mut self, frames: &mut Vec<Frame>) {
        let more = std::iter::from_fn(|| self.facts.try_recv().ok()).take(BATCH);
        frames.extend(more.map(Frame::fact));
    }
}
