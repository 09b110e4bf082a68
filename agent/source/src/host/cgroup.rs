//! Memory of a cgroup's sockets, and the limit that stands nearest above it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirEntryExt as _;
use std::path::{Path, PathBuf};

use agent_model::event::CgroupMemory;

/// Where version 1's memory controller is mounted, by custom.
const V1: &str = "/sys/fs/cgroup/memory";

/// Where version 2 is mounted: alone, or beside version 1.
const V2: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Paths remembered: those of cgroups with sockets.
const PATHS: usize = 1024;

/// Directories looked at in one search: a host with more is not searched to its end.
const DIRECTORIES: usize = 16_384;

/// The hierarchy that the memory controller is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Finds cgroups by their kernel id, which is the inode of their directory, and reads their memory.
#[derive(Debug, Default)]
pub struct Cgroups {
    root: Option<(Version, PathBuf)>,
    /// `None` of an id that was not found.
    paths: BTreeMap<u64, Option<PathBuf>>,
}

impl Cgroups {
    /// None, where no memory controller is mounted.
    pub fn new() -> Self {
        let v1 = Path::new(V1).join("memory.kmem.tcp.usage_in_bytes").exists();
        let v2 = V2.into_iter().find(|root| Path::new(root).join("cgroup.controllers").exists());
        let v1 = v1.then(|| (Version::One, PathBuf::from(V1)));
        Self { root: v1.or(v2.map(|root| (Version::Two, root.into()))), paths: BTreeMap::new() }
    }

    /// The memory of the cgroups with these ids at `time`, but for those that are gone, or hidden by another
    /// namespace.
    pub fn memory(&mut self, ids: &[u64], time: u64) -> Vec<CgroupMemory> {
        let Some((version, root)) = self.root.clone() else { return Vec::new() };
        self.learn(ids, &root);
        let found = ids.iter().filter_map(|id| Some((*id, self.paths.get(id)?.as_ref()?)));
        let living = found.filter(|(_, folder)| folder.is_dir());
        let all = living.map(|(cgroup, folder)| {
            let memory = match version {
                Version::One => v1(folder, &root),
                Version::Two => v2(folder, &root),
            };
            CgroupMemory { time, cgroup, own: below(folder, &root), ..memory }
        });
        all.collect()
    }

    /// Searches once for all that are new.
    fn learn(&mut self, ids: &[u64], root: &Path) {
        let new: BTreeSet<_> = ids.iter().copied().filter(|id| !self.paths.contains_key(id)).collect();
        if new.is_empty() {
            return;
        }
        if self.paths.len() + new.len() > PATHS {
            self.paths.clear();
            return self.learn(ids, root);
        }
        let mut found = find(&new, root);
        self.paths.extend(new.into_iter().map(|id| (id, found.remove(&id))));
    }
}

fn find(ids: &BTreeSet<u64>, root: &Path) -> BTreeMap<u64, PathBuf> {
    let (mut folders, mut left) = (vec![root.to_owned()], DIRECTORIES);
    let mut found = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        // It may be gone by now.
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            if ids.contains(&entry.ino()) {
                found.insert(entry.ino(), entry.path());
            }
            left = left.saturating_sub(1);
            if left == 0 || found.len() == ids.len() {
                return found;
            }
            folders.push(entry.path());
        }
    }
    found
}

/// The folder and those above it, the root of the hierarchy left out: it has no limits.
fn upwards<'a>(folder: &'a Path, root: &Path) -> impl Iterator<Item = &'a Path> {
    folder.ancestors().take_while(move |above| *above != root)
}

/// The one of these whose limit leaves least room.
pub(super) fn narrowest<'a>(
    folder: &'a Path,
    root: &Path,
    used: &str,
    limit: &str,
) -> Option<(&'a Path, u64, u64)> {
    let known = upwards(folder, root).filter_map(|above| {
        Some((above, number(above, used)?, number(above, limit).filter(|limit| *limit < UNLIMITED)?))
    });
    known.min_by_key(|(_, used, limit)| limit.saturating_sub(*used))
}

/// Version 1 writes no limit as `PAGE_COUNTER_MAX` pages, version 2 as `max`.
const UNLIMITED: u64 = 1 << 62;

fn v1(folder: &Path, root: &Path) -> CgroupMemory {
    const USED: &str = "memory.kmem.tcp.usage_in_bytes";
    let narrowest = narrowest(folder, root, USED, "memory.kmem.tcp.limit_in_bytes");
    let limiting = narrowest.map_or(folder, |(above, ..)| above);
    let socket = number(folder, USED).unwrap_or(0);
    CgroupMemory {
        version: 1,
        path: below(limiting, root),
        socket,
        used: narrowest.map_or(socket, |(_, used, _)| used),
        limit: narrowest.map(|(.., limit)| limit),
        hits: number(limiting, "memory.kmem.tcp.failcnt").unwrap_or(0),
        ..CgroupMemory::default()
    }
}

fn v2(folder: &Path, root: &Path) -> CgroupMemory {
    let narrowest = narrowest(folder, root, "memory.current", "memory.max");
    let limiting = narrowest.map_or(folder, |(above, ..)| above);
    let events = text(limiting, "memory.events");
    CgroupMemory {
        version: 2,
        path: below(limiting, root),
        socket: row(&text(folder, "memory.stat"), "sock").unwrap_or(0),
        used: narrowest.map_or_else(|| number(folder, "memory.current").unwrap_or(0), |(_, used, _)| used),
        limit: narrowest.map(|(.., limit)| limit),
        hits: row(&events, "max").unwrap_or(0),
        throttled: row(&text(folder, "memory.events"), "sock_throttled"),
        stalled_us: waited(&text(limiting, "memory.pressure")),
        ..CgroupMemory::default()
    }
}

fn below(folder: &Path, root: &Path) -> Box<str> {
    let path = folder.strip_prefix(root).unwrap_or(folder);
    format!("/{}", path.display()).into()
}

/// A file that is not there says nothing.
fn text(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap_or_default()
}

fn number(folder: &Path, file: &str) -> Option<u64> {
    text(folder, file).trim().parse().ok()
}

/// `sock 4096`
pub(super) fn row(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=1234`, µs.
pub(super) fn waited(pressure: &str) -> Option<u64> {
    let some = pressure.lines().find(|line| line.starts_with("some "))?;
    some.rsplit_once("total=")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    /// Ids are the inodes of directories in any file system.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("tcpwhy-cgroup-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }

        fn memory(&self, version: Version, folder: &str) -> CgroupMemory {
            let id = fs::metadata(self.0.join(folder)).unwrap().ino();
            let mut cgroups = Cgroups { root: Some((version, self.0.clone())), paths: BTreeMap::new() };
            cgroups.memory(&[id], 7).remove(0)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn the_limit_may_be_further_up() {
        let tree = Tree::new(
            "v2",
            &[
                ("pod/memory.current", "900\n"),
                ("pod/memory.max", "1000\n"),
                ("pod/memory.events", "low 0\nhigh 0\nmax 12\noom 0\n"),
                ("pod/memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=55\nfull total=3\n"),
                ("pod/app/memory.current", "800\n"),
                ("pod/app/memory.max", "max\n"),
                ("pod/app/memory.stat", "anon 1\nsock 640\nsocket 9\n"),
            ],
        );
        let memory = tree.memory(Version::Two, "pod/app");
        assert_eq!((memory.version, &*memory.own, &*memory.path, memory.time), (2, "/pod/app", "/pod", 7));
        assert_eq!((memory.socket, memory.used, memory.limit, memory.hits), (640, 900, Some(1000), 12));
        assert_eq!((memory.throttled, memory.stalled_us), (None, Some(55)));
    }

    #[test]
    fn version_1_counts_tcp_apart() {
        let tree = Tree::new(
            "v1",
            &[
                ("app/memory.kmem.tcp.usage_in_bytes", "262144\n"),
                ("app/memory.kmem.tcp.limit_in_bytes", "262144\n"),
                ("app/memory.kmem.tcp.failcnt", "3\n"),
                ("free/memory.kmem.tcp.limit_in_bytes", "9223372036854771712\n"),
                ("free/memory.kmem.tcp.usage_in_bytes", "4096\n"),
            ],
        );
        let memory = tree.memory(Version::One, "app");
        assert_eq!((memory.version, &*memory.path, memory.socket), (1, "/app", 262_144));
        assert_eq!((memory.used, memory.limit, memory.hits), (262_144, Some(262_144), 3));
        assert_eq!(tree.memory(Version::One, "free").limit, None);
    }

    #[test]
    fn nobody_has_an_id_that_is_not_there() {
        let tree = Tree::new("none", &[("a/b", "")]);
        let mut cgroups = Cgroups { root: Some((Version::Two, tree.0.clone())), paths: BTreeMap::new() };
        assert_eq!(cgroups.memory(&[u64::MAX, 1], 0), []);
    }
}
