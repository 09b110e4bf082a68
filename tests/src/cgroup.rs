//! cgroups with a limit. Those of memory of version 1 are the one way to refuse TCP its memory without touching the whole host:
//! `memory.kmem.tcp.limit_in_bytes` (`memcg1_charge_skmem`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::gettid;

use crate::pod;

const ROOT: &str = "/sys/fs/cgroup/memory";
const PREFIX: &str = "tcpwhy-lab-";
const TCP_LIMIT: &str = "memory.kmem.tcp.limit_in_bytes";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A cgroup of the test's own, removed with it.
#[derive(Debug)]
pub struct LimitedCgroup {
    path: PathBuf,
}

impl LimitedCgroup {
    /// With `limit` bytes for the buffers of TCP sockets created inside; the reason if there is no way here.
    pub fn with_tcp_limit(limit: u64) -> Result<Self, String> {
        if !fs::exists(ROOT).unwrap_or(false) {
            return Err(
                "no memory cgroups of version 1 here; version 2 has no limit for TCP alone".to_owned()
            );
        }
        Self::new(Path::new(ROOT), TCP_LIMIT, limit)
    }

    /// With `limit` bytes for all that its processes take; the reason if there is no way here.
    pub fn with_limit(limit: u64) -> Result<Self, String> {
        if fs::exists(ROOT).unwrap_or(false) {
            return Self::new(Path::new(ROOT), "memory.limit_in_bytes", limit);
        }
        let root = pod::root()?;
        fs::write(root.join("cgroup.subtree_control"), "+memory")
            .map_err(|error| format!("delegate the memory controller: {error}"))?;
        Self::new(&root, "memory.max", limit)
    }

    /// With room for `limit` threads; the reason if there is no way here.
    pub fn with_threads(limit: u64) -> Result<Self, String> {
        let v1 = Path::new("/sys/fs/cgroup/pids");
        if fs::exists(v1).unwrap_or(false) {
            return Self::new(v1, "pids.max", limit);
        }
        let root = pod::root()?;
        fs::write(root.join("cgroup.subtree_control"), "+pids")
            .map_err(|error| format!("delegate the pids controller: {error}"))?;
        Self::new(&root, "pids.max", limit)
    }

    /// No thread more than there are.
    pub fn fill(&self) {
        let now = fs::read_to_string(self.path.join("pids.current")).expect("count threads");
        fs::write(self.path.join("pids.max"), now.trim()).expect("limit threads");
    }

    fn new(root: &Path, file: &str, limit: u64) -> Result<Self, String> {
        remove_stale(root);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("{PREFIX}{}-limit-{number}", std::process::id()));
        fs::create_dir(&path).map_err(|error| format!("create {}: {error}", path.display()))?;
        let cgroup = Self { path };
        let file = cgroup.path.join(file);
        fs::write(&file, limit.to_string()).map_err(|error| format!("write {}: {error}", file.display()))?;
        Ok(cgroup)
    }

    /// Where a process enters it.
    pub fn procs(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// Its path below the hierarchy's root.
    pub fn below_root(&self) -> String {
        format!("/{}", self.path.strip_prefix(ROOT).expect("below the root").display())
    }

    /// Most bytes that TCP ever used of the limit.
    pub fn used(&self) -> u64 {
        let file = self.path.join("memory.kmem.tcp.max_usage_in_bytes");
        let text = fs::read_to_string(file).expect("read what was used");
        text.trim().parse().expect("a number")
    }

    /// Moves the calling thread inside: a socket is charged to the cgroup of the thread that made it
    /// (`mem_cgroup_sk_alloc`).
    pub fn enter(&self) {
        let tasks = self.path.join("tasks");
        fs::write(&tasks, gettid().to_string())
            .unwrap_or_else(|error| panic!("{}: {error}", tasks.display()));
    }
}

impl Drop for LimitedCgroup {
    fn drop(&mut self) {
        // A joined thread leaves its cgroup a moment later; until then the directory is busy.
        let deadline = Instant::now() + Duration::from_secs(1);
        while fs::remove_dir(&self.path).is_err() && Instant::now() < deadline {
            thread::yield_now();
        }
    }
}

/// Removes what a killed test left: cgroups of processes that are gone. A busy one refuses.
fn remove_stale(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let pid = rest.split('-').next().unwrap_or_default();
        if !fs::exists(format!("/proc/{pid}")).unwrap_or(true) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}
