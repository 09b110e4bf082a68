//! What the guest finds: busybox, the tests, the programs they start, the kernel's modules.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::cpio::Cpio;
use super::kernel::Kernel;
use super::python::{self, Python};
use super::suite::Suite;
use crate::process;

/// The guest's first process.
const INIT: &str = include_str!("init.sh");
/// A shell and some three hundred small programs, linked statically.
const BUSYBOX: &str = "/bin/busybox";
/// Where the first process looks for its orders.
const SETTINGS: &str = "etc/lab";
/// Mounted on, or written to.
const FOLDERS: [&str; 9] = ["dev", "etc", "lab/tests", "modules", "proc", "run", "sys", "tmp", "var"];
/// Programs of this machine, in place of busybox's: network namespaces, nftables, queues, killing sockets.
const PROGRAMS: [&str; 4] = ["ip", "nft", "tc", "ss"];
/// What the lab's links, losses and killings take.
const MODULES: [&str; 8] =
    ["veth", "nf_tables", "nft_limit", "nft_numgen", "sch_tbf", "sch_netem", "inet_diag", "tcp_diag"];

/// A file system being filled: folders are made as they are needed.
#[derive(Default)]
struct Root {
    cpio: Cpio,
    folders: BTreeSet<PathBuf>,
}

impl Root {
    fn folder(&mut self, path: &Path) {
        if path.as_os_str().is_empty() || !self.folders.insert(path.to_owned()) {
            return;
        }
        if let Some(parent) = path.parent() {
            self.folder(parent);
        }
        self.cpio.directory(&path.to_string_lossy());
    }

    fn file(&mut self, path: &str, content: &[u8]) {
        self.folder(Path::new(path).parent().unwrap_or(Path::new("")));
        self.cpio.program(path, content);
    }

    fn copy(&mut self, from: &Path, to: &str) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        self.file(to, &content);
        Ok(())
    }
}

/// What is the same for every kernel.
pub fn common(suite: &Suite) -> Result<Vec<u8>> {
    let mut root = Root::default();
    for folder in FOLDERS {
        root.folder(Path::new(folder));
    }
    root.file("init", INIT.as_bytes());
    busybox(&mut root)?;
    programs(&mut root)?;
    interpreter(&mut root, &python::find()?)?;
    for test in &suite.tests {
        root.copy(&test.path, &format!("lab/tests/{}", test.name))?;
    }
    for helper in &suite.helpers {
        root.copy(&helper.path, &format!("lab/{}", helper.name))?;
    }
    Ok(root.cpio.finish())
}

/// What only one kernel has; the kernel unpacks it after the common part.
pub fn own(kernel: &Kernel, settings: &str) -> Result<Vec<u8>> {
    let mut cpio = Cpio::default();
    cpio.program(SETTINGS, settings.as_bytes());
    let mut files = Vec::new();
    for module in MODULES {
        // What a kernel lacks, the tests that need it will show.
        files.extend(kernel.module(module).unwrap_or_default());
    }
    let mut seen = BTreeSet::new();
    files.retain(|file| seen.insert(file.clone()));
    for (index, file) in files.iter().enumerate() {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let name = name.split('.').next().unwrap_or_default();
        cpio.program(&format!("modules/{index:02}-{name}.ko"), &unpacked(file)?);
    }
    Ok(cpio.finish())
}

/// Unpacked here, since not every kernel unpacks modules itself.
fn unpacked(module: &Path) -> Result<Vec<u8>> {
    let program = match module.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => return fs::read(module).with_context(|| format!("read {}", module.display())),
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => bail!("unpack {}: unknown compression", module.display()),
    };
    process::capture(Command::new(program).arg("-dc").arg(module))
}

fn busybox(root: &mut Root) -> Result<()> {
    root.copy(Path::new(BUSYBOX), "bin/busybox")?;
    let applets = process::capture(Command::new(BUSYBOX).arg("--list"))?;
    let applets = String::from_utf8_lossy(&applets).into_owned();
    for applet in applets.lines().filter(|applet| *applet != "busybox" && !PROGRAMS.contains(applet)) {
        root.cpio.link(&format!("bin/{applet}"), "busybox");
    }
    Ok(())
}

fn programs(root: &mut Root) -> Result<()> {
    let mut libraries = BTreeSet::new();
    for name in PROGRAMS {
        let program = process::find(name).with_context(|| format!("no program `{name}`"))?;
        libraries.extend(libraries_of(&program)?);
        root.copy(&program, &format!("bin/{name}"))?;
    }
    copy_libraries(root, &libraries)
}

fn copy_libraries(root: &mut Root, libraries: &BTreeSet<String>) -> Result<()> {
    libraries.iter().try_for_each(|library| root.copy(Path::new(library), library.trim_start_matches('/')))
}

fn interpreter(root: &mut Root, python: &Python) -> Result<()> {
    let Python { interpreter, files } = python;
    let mut libraries = BTreeSet::new();
    for file in files.iter().chain([interpreter]) {
        root.copy(file, file.to_string_lossy().trim_start_matches('/'))?;
        if file == interpreter || file.extension().is_some_and(|extension| extension == "so") {
            libraries.extend(libraries_of(file)?);
        }
    }
    root.cpio.link("bin/python3", &interpreter.to_string_lossy());
    copy_libraries(root, &libraries)
}

/// From lines such as `libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x..)`.
fn libraries_of(program: &Path) -> Result<BTreeSet<String>> {
    let output = process::capture(Command::new("ldd").arg(program))?;
    let text = String::from_utf8_lossy(&output).into_owned();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(|path| path.trim_end_matches(':').to_owned()).collect())
}
