//! cgroups of version 2 as container runtimes make them: `.../kubepods/burstable/podUID/CONTAINER`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{process, thread};

const PREFIX: &str = "tcpwhy-lab-";

/// Where version 2 is mounted: alone, or beside version 1 (`unified`).
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A container's cgroup of the test's own, below a directory that names the test process. Whatever runs in
/// it ends with this value; what a killed test left, the next one removes.
#[derive(Debug)]
pub struct Container {
    top: PathBuf,
    path: PathBuf,
    /// UID of its pod.
    pub pod_uid: String,
    /// Its own id.
    pub id: String,
}

impl Container {
    /// A container of a Burstable pod (cgroupfs driver); the reason if the host has no cgroup v2.
    pub fn new() -> Result<Self, String> {
        let root = root()?;
        remove_stale(&root);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let top = root.join(format!("{PREFIX}{}-{number}", process::id()));
        let pod_uid = format!("6f1d3b52-8a1e-4c39-9f00-{:08x}{number:04x}", process::id());
        let id = format!("{:056x}{number:08x}", process::id());
        let path = top.join(format!("kubepods/burstable/pod{pod_uid}/{id}"));
        fs::create_dir_all(&path).map_err(|error| format!("create {}: {error}", path.display()))?;
        Ok(Self { top, path, pod_uid, id })
    }

    /// What the kernel calls its id: the directory's inode.
    pub fn inode(&self) -> u64 {
        self.path.metadata().expect("stat a cgroup").ino()
    }

    /// The file that takes the process ids of who shall be inside.
    pub fn procs(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Processes that were killed leave their cgroup a moment later; until then it is busy.
        let deadline = Instant::now() + Duration::from_secs(2);
        while !remove(&self.top) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Where version 2 is mounted; the reason if it is not.
pub fn root() -> Result<PathBuf, String> {
    let is_v2 = |root: &&str| Path::new(root).join("cgroup.controllers").exists();
    let root = ROOTS.iter().find(|root| is_v2(root)).ok_or("no cgroup v2 is mounted below /sys/fs/cgroup")?;
    Ok(PathBuf::from(root))
}

/// Removes a tree of cgroups from its leaves on, with whoever is inside; true once it is gone.
fn remove(path: &Path) -> bool {
    // `cgroup.kill` is there since 5.14; before it, whoever is inside stays.
    let _ = fs::write(path.join("cgroup.kill"), "1");
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    for child in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&child.path());
    }
    fs::remove_dir(path).is_ok() || !path.exists()
}

fn remove_stale(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let pid = rest.split('-').next().unwrap_or_default();
        if !fs::exists(format!("/proc/{pid}")).unwrap_or(true) {
            remove(&entry.path());
        }
    }
}
