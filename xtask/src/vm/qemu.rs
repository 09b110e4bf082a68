//! One boot of one kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::guest::Guest;
use super::kernel::Kernel;
use crate::{process, report};

/// The emulator.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// Longest that a guest may take, on a machine that has other things to do as well.
const PATIENCE: Duration = Duration::from_mins(20);

/// Emulation named explicitly: where /dev/kvm can be opened it need not work. One thread for both
/// processors, since with one each QEMU 7.2 loses a patched instruction now and then.
const MACHINE: [&str; 17] = [
    "-machine",
    "pc",
    "-accel",
    "tcg,thread=single",
    "-cpu",
    "max",
    "-smp",
    "2",
    "-m",
    "512",
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    "-no-reboot",
    "-serial",
    "stdio",
];

/// A guest that dies does so at once, and says why on the first serial line.
const PARAMETERS: &str =
    "console=ttyS0 panic=-1 oops=panic loglevel=6 no_timer_check mitigations=off audit=0 random.trust_cpu=on";

/// How a boot went.
#[derive(Debug)]
pub struct Boot {
    /// What the guest said.
    pub guest: Guest,
    /// From start to end.
    pub took: Duration,
    /// The kernel's messages.
    pub console: PathBuf,
    /// The guest of the first one died or hung.
    pub is_second: bool,
}

/// Boots `kernel` with `initramfs`, twice if the guest dies the first time. Leaves its logs in `dir`.
pub fn boot(kernel: &Kernel, initramfs: &[u8], dir: &Path) -> Result<Boot> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let file = dir.join(format!("{}.cpio", kernel.line));
    fs::write(&file, initramfs).with_context(|| format!("write {}", file.display()))?;
    let mut boot = once(kernel, &file, dir)?;
    if !boot.guest.is_done {
        report::note(
            "Retrying",
            format_args!("{}: the guest died, see {}", kernel.line, boot.console.display()),
        );
        boot = Boot { is_second: true, ..once(kernel, &file, dir)? };
    }
    fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
    Ok(boot)
}

fn once(kernel: &Kernel, initramfs: &Path, dir: &Path) -> Result<Boot> {
    let console = dir.join(format!("{}.console", kernel.line));
    let start = Instant::now();
    let mut command = Command::new("timeout");
    // In the foreground: an interrupt from the keyboard is for the emulator too.
    command.args(["--foreground", "--kill-after=5", &PATIENCE.as_secs().to_string(), PROGRAM]);
    command.arg("-serial").arg(format!("file:{}", console.display())).args(MACHINE);
    command.arg("-kernel").arg(kernel.image()?).arg("-initrd").arg(initramfs).args(["-append", PARAMETERS]);
    let output = command.output().with_context(|| format!("start `{}`", process::shown(&command)))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let log = dir.join(format!("{}.log", kernel.line));
    fs::write(&log, text.as_bytes()).with_context(|| format!("write {}", log.display()))?;
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let guest = Guest { complaint, ..Guest::read(&text) };
    Ok(Boot { guest, took: start.elapsed(), console, is_second: false })
}
