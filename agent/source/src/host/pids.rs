//! `pids.max`: how many tasks a cgroup may have.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use agent_model::event::Room;

use super::cgroup::narrowest;

/// Where the pids controller is: of version 1 by custom, of version 2 alone or beside version 1.
const ROOTS: [(&str, &str); 3] =
    [("pids", "/sys/fs/cgroup/pids"), ("", "/sys/fs/cgroup"), ("", "/sys/fs/cgroup/unified")];

/// Limits found so far, by the path that `/proc/PID/cgroup` has: a server's children share theirs.
#[derive(Debug, Default)]
pub struct Pids(HashMap<String, Option<Room>>);

impl Pids {
    /// The tasks of a process's cgroup, and the narrowest limit above them; `None` without any.
    pub fn of(&mut self, pid: u32) -> Option<Room> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        ROOTS.into_iter().find_map(|(controller, root)| {
            let path = path(&text, controller)?;
            let key = format!("{root}{path}");
            *self.0.entry(key).or_insert_with_key(|key| room(Path::new(key), Path::new(root)))
        })
    }
}

fn room(folder: &Path, root: &Path) -> Option<Room> {
    let (_, used, limit) = narrowest(folder, root, "pids.current", "pids.max")?;
    Some(Room { used, limit })
}

/// Of `4:pids:/app` or `0::/app`; one that another namespace hides begins with `/..`.
fn path<'a>(text: &'a str, controller: &str) -> Option<&'a str> {
    let mut rows = text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let row = rows.find(|(controllers, _)| controllers.split(',').any(|one| one == controller));
    row.map(|(_, path)| path).filter(|path| !path.starts_with("/.."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_that_of_the_controller() {
        let both = "9:cpu,pids:/docker/a\n1:name=systemd:/x\n0::/init.scope\n";
        assert_eq!((path(both, "pids"), path(both, "")), (Some("/docker/a"), Some("/init.scope")));
        assert_eq!(path("0::/../../other\n", ""), None);
    }

    #[test]
    fn the_narrowest_limit_counts() {
        let root = std::env::temp_dir().join(format!("tcpwhy-pids-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a/pids.max", "100\n");
        write("a/pids.current", "90\n");
        write("a/b/pids.max", "50\n");
        write("a/b/pids.current", "7\n");
        write("c/pids.max", "max\n");
        write("c/pids.current", "3\n");
        assert_eq!(room(&root.join("a/b"), &root), Some(Room { used: 90, limit: 100 }));
        assert_eq!(room(&root.join("c"), &root), None);
        fs::remove_dir_all(&root).unwrap();
    }
}
