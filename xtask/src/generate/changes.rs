//! What the new files change in the project.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::{report, workspace};

/// Puts every new file below `folder` in its place and removes those that are `replaced`, or with `check` says so.
/// How many change.
pub fn settle(folder: &Path, replaced: &[String], check: bool) -> Result<usize> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    ensure!(!files.is_empty(), "nothing was written below {}", folder.display());
    files.sort();
    let mut changed = 0;
    for file in &files {
        let path = file.strip_prefix(folder).context("a file below the folder")?;
        changed += usize::from(place(file, path, check)?);
    }
    for path in replaced {
        report::status(if check { "Would remove" } else { "Removing" }, path);
        if !check {
            fs::remove_file(workspace::root().join(path)).with_context(|| format!("remove {path}"))?;
        }
    }
    Ok(changed + replaced.len())
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in folder.read_dir().with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() { list(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

/// Whether it is another than the project has.
fn place(file: &Path, path: &Path, check: bool) -> Result<bool> {
    let new = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let place = workspace::root().join(path);
    let is_new = fs::read(&place).map_or(true, |old| old != new);
    if is_new {
        report::status(if check { "Would write" } else { "Writing" }, path.display());
    }
    if is_new && !check {
        fs::write(&place, new).with_context(|| format!("write {}", place.display()))?;
    }
    Ok(is_new)
}
