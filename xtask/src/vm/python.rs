//! A Python for the guests: commands of the pages in docs/causes are written in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;

/// What those commands import; prints the interpreter and all files that it takes.
const ASK: &str = "import sys, os, select, selectors, socket, struct, time, encodings.ascii, encodings.idna
print(os.path.realpath(sys.executable))
for module in list(sys.modules.values()):
    print(getattr(module, '__file__', None) or '')";

/// An interpreter and the files of its library, at the places where it looks for them.
pub struct Python {
    pub interpreter: PathBuf,
    pub files: Vec<PathBuf>,
}

/// This machine's.
pub fn find() -> Result<Python> {
    let output = process::capture(Command::new("python3").args(["-I", "-c", ASK]))?;
    let text = String::from_utf8_lossy(&output).into_owned();
    let mut paths = text.lines().filter(|line| line.starts_with('/')).map(PathBuf::from);
    let interpreter = paths.next().context("ask python3 for its path")?;
    Ok(Python { interpreter, files: paths.filter(|path| is_of_library(path)).collect() })
}

/// Packages that somebody installed are imported by themselves on some machines.
fn is_of_library(path: &Path) -> bool {
    path.is_file() && !path.iter().any(|part| part == "site-packages" || part == "dist-packages")
}
