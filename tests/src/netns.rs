//! Network namespaces without names or mounts: held by a file descriptor, so that they vanish with
//! the test process whatever ends it.

use std::fmt::Display;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::panic;
use std::process::{Child, Command};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace of the test's own; its `lo` is up.
#[derive(Debug)]
pub struct Netns {
    file: File,
    inode: u64,
}

impl Netns {
    /// An empty one (`unshare(CLONE_NEWNET)` by a thread that ends at once).
    #[expect(
        clippy::new_without_default,
        reason = "each call makes another namespace: there is no default one"
    )]
    pub fn new() -> Self {
        let file = thread::spawn(unshared).join().expect("make a network namespace");
        let inode = file.metadata().expect("stat the network namespace").ino();
        let netns = Self { file, inode };
        netns.command("ip link set lo up");
        // Built into every kernel; the host's own choice may pace, which no scene is about.
        netns.sysctl("ipv4.tcp_congestion_control", "reno");
        netns
    }

    /// What `/proc/PID/ns/net` shows, and the agent as `netns`.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// A path that `ip link ... netns PATH` understands.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Runs `f` inside, on a thread that ends with it; its panic is the caller's.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter();
                f()
            });
            inside.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
        })
    }

    /// Runs `f` inside for as long as it likes, beside the caller.
    pub fn spawn<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
        let file = self.file.try_clone().expect("duplicate the network namespace");
        thread::spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET).expect("enter the network namespace");
            f()
        })
    }

    /// Starts a process inside.
    pub fn start(&self, command: &mut Command) -> Child {
        self.run(|| command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}")))
    }

    /// Runs a command line (no quoting) inside and returns what it printed; panics if it fails.
    pub fn command(&self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = self.run(|| Command::new(words[0]).args(&words[1..]).output());
        let output = output.unwrap_or_else(|error| panic!("run {line}: {error}"));
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Sets `net.KEY`, dots or slashes alike, of this namespace alone.
    pub fn sysctl(&self, key: &str, value: impl Display) {
        // The kernel resolves /proc/sys/net for the namespace of the calling thread.
        let path = format!("/proc/sys/net/{}", key.replace('.', "/"));
        let value = value.to_string();
        self.run(|| fs::write(&path, &value))
            .unwrap_or_else(|error| panic!("write {value} to {path}: {error}"));
    }

    fn enter(&self) {
        setns(&self.file, CloneFlags::CLONE_NEWNET).expect("enter the network namespace");
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // Orphans keep a namespace alive for as long as they try (100 s): let them give up at once.
        self.run(|| {
            let _ = fs::write("/proc/sys/net/ipv4/tcp_orphan_retries", "1");
        });
    }
}

fn unshared() -> File {
    unshare(CloneFlags::CLONE_NEWNET).expect("unshare the network namespace (needs CAP_SYS_ADMIN)");
    File::open("/proc/thread-self/ns/net").expect("open the network namespace")
}
