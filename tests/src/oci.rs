//! The container image of the project, unpacked and run by runc as the chart would have it run.

use std::env;
use std::fs;
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::agent;
use crate::netns::Netns;

/// Where the hierarchies of cgroups are.
const CGROUPS: &str = "/sys/fs/cgroup";
const PREFIX: &str = "tcpwhy-lab-";

/// An unpacked OCI archive.
#[derive(Debug)]
pub struct Image {
    folder: PathBuf,
    /// Its only manifest.
    pub manifest: Value,
    /// Its configuration.
    pub config: Value,
}

impl Image {
    /// The archive that `TCPWHY_IMAGE` names; the reason if there is none.
    pub fn open() -> Result<Self, String> {
        let archive =
            env::var("TCPWHY_IMAGE").map_err(|_| "a run of chosen tests builds no image".to_owned())?;
        let folder = agent::folder().join("image");
        fs::create_dir_all(&folder).map_err(|error| format!("create {}: {error}", folder.display()))?;
        run(Command::new("tar").args(["-xf", &archive, "-C"]).arg(&folder));
        let index = parse(&folder.join("index.json"));
        let manifest = parse(&blob(&folder, &index["manifests"][0]));
        let config = parse(&blob(&folder, &manifest["config"]));
        Ok(Self { folder, manifest, config })
    }

    /// Every file below `blobs/sha256`.
    pub fn blobs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.join("blobs/sha256")).expect("list the blobs");
        entries.flatten().map(|entry| entry.path()).collect()
    }

    /// Unpacks the file system.
    pub fn unpack(&self) -> PathBuf {
        let root = self.folder.join("rootfs");
        fs::create_dir_all(&root).expect("create the root of a file system");
        for layer in self.manifest["layers"].as_array().expect("layers") {
            run(Command::new("tar").arg("-xzf").arg(blob(&self.folder, layer)).arg("-C").arg(&root));
        }
        root
    }
}

fn blob(folder: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().expect("a digest");
    folder.join("blobs").join(digest.replace(':', "/"))
}

fn parse(file: &Path) -> Value {
    let text = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A container of the agent's image, in a network namespace of its own, with the rights that the chart gives and
/// no others. It ends with this value.
#[derive(Debug)]
pub struct Running {
    child: Child,
    state: PathBuf,
    cgroup: String,
    /// Its network namespace.
    pub netns: Netns,
}

/// The container's `/etc/resolv.conf`: who is asked for names listens in the container's network namespace.
const RESOLVER: &str = "resolv.conf";

/// Its name for runc.
const NAME: &str = "tcpwhy-agent";

impl Running {
    /// Starts the image's own command with the chart's arguments, and more.
    pub fn start(image: &Image, more: &[&str]) -> Self {
        let (netns, cgroup) = (Netns::new(), cgroup());
        // As the kubelet writes it.
        fs::write(image.folder.join(RESOLVER), "nameserver 127.0.0.1\n").expect("write resolv.conf");
        let bundle = image.folder.join("bundle");
        fs::create_dir_all(&bundle).expect("create a bundle");
        let config = config(image, &netns, &cgroup, more);
        fs::write(bundle.join("config.json"), config.to_string()).expect("write a bundle's config.json");
        let state = image.folder.join("runc");
        let mut command = runc(&state);
        command.arg("run").arg("--bundle").arg(&bundle).arg(NAME).stdin(Stdio::null());
        let child = command.spawn().expect("start runc");
        Self { child, state, cgroup, netns }
    }

    /// A connection to its port from inside its network namespace.
    pub fn connect(&self) -> io::Result<TcpStream> {
        self.netns.run(|| TcpStream::connect("127.0.0.1:9752"))
    }

    /// Runs a command inside, as `kubectl exec` does.
    pub fn exec(&self, arguments: &[&str]) -> Command {
        let mut command = runc(&self.state);
        command.args(["exec", NAME]).args(arguments);
        command
    }

    /// What the kernel shows of its first process in `/proc/PID/status`.
    pub fn status(&self) -> String {
        let output = run(runc(&self.state).args(["state", NAME]));
        let state: Value = serde_json::from_slice(&output.stdout).expect("runc's state");
        fs::read_to_string(format!("/proc/{}/status", state["pid"])).expect("its status")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, or never have begun.
        let _ = runc(&self.state).args(["delete", "--force", NAME]).output();
        let _ = self.child.wait();
        let top = self.cgroup.split('/').nth(1).expect("a path from the root");
        for hierarchy in fs::read_dir(CGROUPS).into_iter().flatten().flatten() {
            remove(&hierarchy.path().join(top));
        }
    }
}

/// `cgroupfs`-style, of a Burstable pod, below a folder that names the test process.
fn cgroup() -> String {
    let (uid, id) = (format!("6f1d3b52-8a1e-4c39-9f00-{:012x}", std::process::id()), format!("{:064x}", 7));
    format!("/{PREFIX}{}-image/kubepods/burstable/pod{uid}/{id}", std::process::id())
}

/// Removes folders of cgroups from their leaves on; what is busy stays.
fn remove(path: &Path) {
    for child in fs::read_dir(path).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&child.path());
        }
    }
    let _ = fs::remove_dir(path);
}

fn runc(state: &Path) -> Command {
    let mut command = Command::new("runc");
    command.arg("--root").arg(state);
    command
}

/// What containerd makes of the DaemonSet: `hostPID`, so no namespace of process ids.
fn config(image: &Image, netns: &Netns, cgroup: &str, more: &[&str]) -> Value {
    let (root, resolver) = (image.unpack(), image.folder.join(RESOLVER));
    let resolver = resolver.to_str().expect("a path");
    let capabilities = json!(["CAP_BPF", "CAP_PERFMON"]);
    let words = image.config["config"]["Entrypoint"].as_array().expect("an entry point").iter().cloned();
    let usual = ["agent", "--listen=0.0.0.0:9752"];
    let arguments: Vec<_> = words.chain(usual.iter().chain(more).map(|word| json!(word))).collect();
    let mount = |to: &str, kind: &str, from: &str, options: &[&str]| json!({"destination": to, "type": kind, "source": from, "options": options});
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": arguments,
            "env": image.config["config"]["Env"],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
        },
        "root": {"path": root, "readonly": true},
        "mounts": [
            mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount(CGROUPS, "bind", CGROUPS, &["rbind", "ro", "rslave"]),
            mount("/etc/resolv.conf", "bind", resolver, &["bind", "ro"]),
            mount("/run/tcpwhy", "tmpfs", "tmpfs", &["nosuid", "nodev", "size=1024k"]),
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {
                "devices": [{"allow": false, "access": "rwm"}],
                "memory": {"limit": 192 << 20},
            },
            "seccomp": parse(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/seccomp/tcpwhy.json")),
            "namespaces": [
                {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network", "path": netns.path()},
            ],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}
