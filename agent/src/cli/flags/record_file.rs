//! The file of a recording.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use agent_model::counters::Counters;
use agent_source::recording::{Recorder, Recording, WriteError, Writer};
use anyhow::{Context as _, bail};

use crate::live::Tap;

/// Opens a new file, or the one that is there to replace it.
pub(in crate::cli) fn open(path: &Path, overwrite: bool) -> anyhow::Result<Writer<File>> {
    Ok(Writer::new(file(path, overwrite)?, path)?)
}

/// Begins a recording; of these network namespaces only, unless there are none.
pub(in crate::cli) fn start(
    writer: Writer<File>,
    netns: Vec<u32>,
    counters: Arc<dyn Counters>,
) -> anyhow::Result<(Tap, Recording)> {
    let (recorder, recording) = Recorder::new(writer).context("start a thread")?;
    Ok((Tap::new(recorder, counters, netns), recording))
}

/// A reader that goes is an end like any other.
pub(in crate::cli) fn unless_nobody_reads(error: WriteError) -> Result<(), WriteError> {
    if error.source.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

/// Refuses to replace a file unless `overwrite` is set, and to write to a terminal.
fn file(path: &Path, overwrite: bool) -> anyhow::Result<File> {
    if path == Path::new("-") {
        let stdout = io::stdout();
        if stdout.is_terminal() {
            bail!("a recording is not for a terminal: name a file, or a command to read it");
        }
        return Ok(stdout.as_fd().try_clone_to_owned().context("open the standard output")?.into());
    }
    let create = || format!("create {}", path.display());
    let mut options = OpenOptions::new();
    let file =
        options.write(true).create(true).truncate(false).mode(0o600).open(path).with_context(create)?;
    let old = file.metadata().with_context(create)?;
    if old.is_file() && old.len() > 0 {
        if !overwrite {
            bail!("{} is there already: name another file, or add --overwrite", path.display());
        }
        file.set_len(0).with_context(create)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_private_and_not_replaced_unawares() {
        let path = std::env::temp_dir().join(format!("tcpwhy-record-{}.rec", std::process::id()));
        let opened = file(&path, false).unwrap();
        assert_eq!(opened.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "old").unwrap();
        assert!(file(&path, false).unwrap_err().to_string().ends_with("or add --overwrite"));
        assert_eq!(file(&path, true).unwrap().metadata().unwrap().len(), 0);
        fs::remove_file(&path).unwrap();
        file(Path::new("/dev/null"), false).unwrap();
    }
}
