//! A Kubernetes cluster of one node on this machine, with the agent as its manifests install it.
//!
//! Everything runs in namespaces of its own (mounts, network, processes): when the first process ends, all do. State
//! and programs are below target/cluster. Of the host it has the kernel, and a cgroup of its own.

mod binaries;
mod images;
mod story;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

pub use self::story::check;
use crate::{process, report, workspace};

/// What starts the parts, inside.
const UP: &str = include_str!("up.sh");
/// Parts are given this long; the machine may be busy.
const PATIENCE: Duration = Duration::from_mins(4);
/// Its cgroup in every hierarchy; `up.sh` has it too.
const CGROUP: &str = "tcpwhy-cluster";

/// A running cluster. It ends with this value, or with this program.
pub struct Cluster {
    holder: Child,
    dir: PathBuf,
    /// Process id of the first process inside.
    init: u32,
}

impl Cluster {
    /// Builds what is missing, starts it, and loads images into it.
    pub fn start() -> Result<Self> {
        if !process::is_root() {
            bail!("a cluster takes root");
        }
        let dir = workspace::target().join("cluster");
        binaries::ensure(&dir)?;
        let images = images::ensure(&dir)?;
        let cluster = Self::spawn(dir)?;
        cluster.wait("the node", |cluster| {
            cluster.kubectl(&["get", "nodes"]).is_ok_and(|nodes| nodes.contains(" Ready"))
        })?;
        for image in images {
            let image = image.to_string_lossy().into_owned();
            cluster.run(&["ctr", "--namespace", "k8s.io", "images", "import", &image])?;
        }
        Ok(cluster)
    }

    fn spawn(dir: PathBuf) -> Result<Self> {
        let state = dir.join("run");
        let _ = fs::remove_dir_all(&state);
        fs::create_dir_all(&state).with_context(|| format!("create {}", state.display()))?;
        fs::write(state.join("up.sh"), UP).context("write up.sh")?;
        report::status("Starting", "a cluster of one node");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["--propagation", "private", "bash"]).arg(state.join("up.sh"));
        command.arg(dir.join("bin")).arg(&state).arg(CGROUP).stdin(Stdio::null());
        let log = fs::File::create(state.join("up.log")).context("create up.log")?;
        let holder = command.stdout(log.try_clone()?).stderr(log).spawn().context("start unshare")?;
        let mut cluster = Self { holder, dir, init: 0 };
        cluster.init = cluster.first()?;
        Ok(cluster)
    }

    /// The child of `unshare`, which the namespace of processes begins with.
    fn first(&self) -> Result<u32> {
        let file = format!("/proc/{0}/task/{0}/children", self.holder.id());
        let mut first = None;
        self.wait("a namespace", |_| {
            let text = fs::read_to_string(&file).unwrap_or_default();
            first = text.split_whitespace().next().and_then(|pid| pid.parse().ok());
            first.is_some()
        })?;
        first.context("unshare started nothing")
    }

    /// A command inside.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        let (target, state) = (self.init.to_string(), self.dir.join("run"));
        command.args(["--target", &target, "--mount", "--net", "--pid", "--root"]);
        command.arg(format!("--wd={}", state.display())).arg("env");
        command.arg(format!("PATH={}:/usr/sbin:/usr/bin:/sbin:/bin", self.dir.join("bin").display()));
        command.arg(format!("KUBECONFIG={}/admin.conf", state.display())).args(words);
        command
    }

    /// Runs a command inside; what it printed.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let output = process::capture(self.command(words).stdin(Stdio::null()))?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    /// Runs kubectl as the administrator; what it printed.
    pub fn kubectl(&self, words: &[&str]) -> Result<String> {
        self.run(&[&["kubectl"], words].concat())
    }

    /// Ends a part (`apiserver`, `kubelet`) as an accident would.
    pub fn kill(&self, part: &str) -> Result<()> {
        self.run(&["sh", "-c", &format!("kill -9 $(cat {part}.pid)")]).map(drop)
    }

    /// Starts it again.
    pub fn restart(&self, part: &str) -> Result<()> {
        let start = format!("nohup sh {part}.sh >> log/{part}.log 2>&1 & echo $! > {part}.pid");
        self.run(&["sh", "-c", &start]).map(drop)
    }

    /// How to run commands inside.
    pub fn way_in(&self) -> String {
        process::shown(&self.command(&["bash"]))
    }

    /// Asks again and again, until it holds.
    pub fn wait(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            if Instant::now() > end {
                bail!("waited in vain for {what}: see {}", self.dir.join("run/log").display());
            }
            thread::sleep(Duration::from_millis(500));
        }
        report::status("Seen", what);
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It may have ended by itself; all inside end with it.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        thread::sleep(Duration::from_secs(1));
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let group = hierarchy.path().join(CGROUP);
            if group.is_dir() {
                // Leaves first; what is busy stays.
                let _ = Command::new("find").arg(&group).args(["-depth", "-type", "d", "-delete"]).output();
            }
        }
    }
}
