//! Where agent and tail meet, if nobody says otherwise.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

const SYSTEM: &str = "/run/tcpwhy/tcpwhy.sock";

/// Root's is the host's; anybody else can only write below their own directory.
pub(in crate::cli) fn for_agent() -> PathBuf {
    if is_root() { SYSTEM.into() } else { own().unwrap_or_else(|| SYSTEM.into()) }
}

/// The host's agent, or one's own.
pub(in crate::cli) fn for_reader() -> PathBuf {
    let own = own().filter(|own| own.exists() && !Path::new(SYSTEM).exists());
    own.unwrap_or_else(|| SYSTEM.into())
}

fn own() -> Option<PathBuf> {
    let directory = env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty())?;
    Some(Path::new(&directory).join("tcpwhy/tcpwhy.sock"))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
