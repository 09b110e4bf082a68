//! The directories of the cgroup v2 tree: the inode of each is the id that sockets carry.
//!
//! inotify reports new directories as they are made, before anything runs in them, so a container's first
//! socket finds its cgroup known; reading needs no privilege and nothing from `/proc`.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::os::unix::fs::DirEntryExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use agent_model::event::Fact;
use agent_model::limits::NAMED_CGROUPS;
use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::blocking;
use super::kernel::facts::monotonic;
use super::names::NamesUp;

/// Where version 2 is mounted: alone, or beside version 1.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// From the removal of a cgroup to its counters' end: two scrapes a minute still see the last counts.
const GRACE: Duration = Duration::from_mins(1);

/// Bytes of inotify events read at a time.
const BUFFER: usize = 16 << 10;

/// Follows the tree.
pub struct Cgroups {
    root: PathBuf,
    inotify: AsyncFd<Inotify>,
    /// Ids and watches, by path below the root.
    known: HashMap<String, (u64, Option<WatchDescriptor>)>,
    paths: HashMap<WatchDescriptor, String>,
    gone: VecDeque<(Instant, u64)>,
}

/// Where the host's cgroup v2 tree is mounted, if it is.
pub fn root() -> Option<PathBuf> {
    ROOTS.iter().map(PathBuf::from).find(|root| root.join("cgroup.controllers").exists())
}

impl Cgroups {
    /// Watches the tree and appends what is in it, which may take a while.
    pub fn open(root: &Path, facts: &mut Vec<Fact>) -> io::Result<Self> {
        // SAFETY: the value owns its descriptor, which stays the same and open for as long as it lives.
        let inotify = unsafe { AsyncFd::register(Inotify::init()?) }.map_err(io::Error::from)?;
        let (known, paths) = (HashMap::new(), HashMap::new());
        let mut cgroups = Self { root: root.to_owned(), inotify, known, paths, gone: VecDeque::new() };
        fs::read_dir(root)?;
        cgroups.scan("", facts);
        Ok(cgroups)
    }

    /// Sends what changes, until nobody listens.
    pub async fn run(mut self, to: mpsc::Sender<Fact>, up: Arc<NamesUp>) {
        loop {
            let changed = self.changed().await;
            // The tree may be large, and its locks be held by whoever makes containers.
            let (cgroups, facts) = blocking::run(move || {
                let mut facts = Vec::new();
                let result = changed.and_then(|()| self.changes(&mut facts));
                (self, result.map(|()| facts))
            })
            .await;
            self = cgroups;
            let facts = match facts {
                Ok(facts) => facts,
                Err(error) => {
                    log::warn!("no names of new pods and units: follow {}: {error}", self.root.display());
                    return up.set(false);
                }
            };
            for fact in facts {
                if to.send(fact).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Waits until something may have changed.
    async fn changed(&mut self) -> io::Result<()> {
        let due = self.gone.front().map(|(due, _)| *due);
        let grace = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            guard = self.inotify.readable_mut() => guard?.clear_ready(),
            () = grace => (),
        }
        Ok(())
    }

    /// Appends what has changed by now.
    fn changes(&mut self, facts: &mut Vec<Fact>) -> io::Result<()> {
        self.read(facts)?;
        self.bury(facts)
    }

    fn bury(&mut self, facts: &mut Vec<Fact>) -> io::Result<()> {
        let time = monotonic()?;
        while let Some((_, id)) = self.gone.pop_front_if(|(due, _)| *due <= Instant::now()) {
            facts.push(Fact::CgroupGone { id, time });
        }
        Ok(())
    }

    fn read(&mut self, facts: &mut Vec<Fact>) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let events: Vec<_> = match self.inotify.get_mut().read_events(&mut buffer) {
                Ok(events) => events.map(|event| event.to_owned()).collect(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            for event in events {
                self.take(event.mask, &event.wd, event.name.as_deref(), facts);
            }
        }
    }

    fn take(&mut self, mask: EventMask, wd: &WatchDescriptor, name: Option<&OsStr>, facts: &mut Vec<Fact>) {
        if mask.contains(EventMask::Q_OVERFLOW) {
            return self.scan_all(facts);
        }
        let (Some(parent), Some(name)) = (self.paths.get(wd), name) else { return };
        let path = format!("{parent}/{}", name.to_string_lossy());
        if mask.contains(EventMask::CREATE) {
            if let Ok(file) = fs::metadata(self.root.join(&path[1..])) {
                self.found(&path, std::os::unix::fs::MetadataExt::ino(&file), facts);
            }
        } else if mask.contains(EventMask::DELETE) {
            self.removed(&path);
        }
    }

    /// Events were lost: what is there is found again, what is not was removed.
    fn scan_all(&mut self, facts: &mut Vec<Fact>) {
        let root = self.root.clone();
        let gone: Vec<_> =
            self.known.keys().filter(|path| !root.join(&path[1..]).is_dir()).cloned().collect();
        for path in gone {
            self.removed(&path);
        }
        let left: Vec<_> = self.known.keys().cloned().collect();
        for path in left.iter().map(String::as_str).chain([""]) {
            self.scan(path, facts);
        }
    }

    /// A directory made between the watch and the scan is found twice, and reported once.
    fn scan(&mut self, path: &str, facts: &mut Vec<Fact>) {
        let folder = self.root.join(path.trim_start_matches('/'));
        self.watch(path, &folder);
        // It may be gone by now.
        let Ok(entries) = fs::read_dir(&folder) else { return };
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let child = format!("{path}/{}", entry.file_name().to_string_lossy());
            self.found(&child, entry.ino(), facts);
        }
    }

    fn watch(&mut self, path: &str, folder: &Path) {
        let mask = WatchMask::CREATE | WatchMask::DELETE | WatchMask::ONLYDIR;
        let watch = self.inotify.get_ref().watches().add(folder, mask);
        match watch {
            Ok(wd) => {
                if let Some(known) = self.known.get_mut(path) {
                    known.1 = Some(wd.clone());
                }
                self.paths.insert(wd, path.to_owned());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            Err(error) => log::warn!("no names of pods and units below {}: {error}", folder.display()),
        }
    }

    fn found(&mut self, path: &str, id: u64, facts: &mut Vec<Fact>) {
        if self.known.get(path).is_some_and(|(known, _)| *known == id) {
            return;
        }
        if self.known.len() >= NAMED_CGROUPS {
            return;
        }
        self.removed(path);
        self.known.insert(path.to_owned(), (id, None));
        facts.push(Fact::Cgroup { id, path: path.into() });
        self.scan(path, facts);
    }

    fn removed(&mut self, path: &str) {
        if let Some((id, wd)) = self.known.remove(path) {
            self.gone.push_back((Instant::now() + GRACE, id));
            if let Some(wd) = wd {
                self.paths.remove(&wd);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// inotify and inodes are those of any file system.
    fn folder(test: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("tcpwhy-cgroups-{}-{test}", std::process::id()));
        fs::create_dir_all(root.join("kubepods/burstable")).unwrap();
        root
    }

    /// Waits for a change, and appends it.
    async fn next(cgroups: &mut Cgroups, facts: &mut Vec<Fact>) {
        timeout(Duration::from_secs(30), cgroups.changed()).await.unwrap().unwrap();
        cgroups.changes(facts).unwrap();
    }

    fn paths(facts: &[Fact]) -> Vec<String> {
        let path = |fact: &Fact| {
            if let Fact::Cgroup { path, .. } = fact { path.to_string() } else { format!("{fact:?}") }
        };
        let mut paths: Vec<_> = facts.iter().map(path).collect();
        paths.sort();
        paths
    }

    #[tokio::test]
    async fn what_is_there_and_what_comes_is_reported_with_its_inode() {
        let root = folder("come");
        let mut facts = Vec::new();
        let mut cgroups = Cgroups::open(&root, &mut facts).unwrap();
        assert_eq!(paths(&facts), ["/kubepods", "/kubepods/burstable"]);
        facts.clear();
        fs::create_dir_all(root.join("kubepods/burstable/pod1/abc")).unwrap();
        while facts.len() < 2 {
            next(&mut cgroups, &mut facts).await;
        }
        assert_eq!(paths(&facts), ["/kubepods/burstable/pod1", "/kubepods/burstable/pod1/abc"]);
        let inode =
            std::os::unix::fs::MetadataExt::ino(&fs::metadata(root.join("kubepods/burstable/pod1")).unwrap());
        assert!(facts.contains(&Fact::Cgroup { id: inode, path: "/kubepods/burstable/pod1".into() }));
        fs::remove_dir_all(root).unwrap();
    }

    #[tokio::test]
    async fn what_goes_is_reported_a_minute_later() {
        let root = folder("go");
        let mut facts = Vec::new();
        let mut cgroups = Cgroups::open(&root, &mut facts).unwrap();
        facts.clear();
        fs::remove_dir(root.join("kubepods/burstable")).unwrap();
        while cgroups.gone.is_empty() {
            next(&mut cgroups, &mut facts).await;
        }
        assert!(facts.is_empty() && cgroups.known.len() == 1);
        assert!(cgroups.gone[0].0 > Instant::now() + GRACE / 2);
        cgroups.gone[0].0 = Instant::now();
        next(&mut cgroups, &mut facts).await;
        assert!(matches!(facts[..], [Fact::CgroupGone { .. }]), "{facts:?}");
        fs::remove_dir_all(root).unwrap();
    }

    #[tokio::test]
    async fn after_lost_events_the_tree_is_read_again() {
        let root = folder("lost");
        let mut facts = Vec::new();
        let mut cgroups = Cgroups::open(&root, &mut facts).unwrap();
        facts.clear();
        fs::remove_dir(root.join("kubepods/burstable")).unwrap();
        fs::create_dir(root.join("kubepods/besteffort")).unwrap();
        cgroups.scan_all(&mut facts);
        assert_eq!(paths(&facts), ["/kubepods/besteffort"]);
        assert_eq!(cgroups.gone.len(), 1);
        fs::remove_dir_all(root).unwrap();
    }
}
