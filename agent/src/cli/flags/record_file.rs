//! The file of a recording.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use agent_model::counters::Counters;
use agent_source::recording::{Recorder, Recording, WriteError, Writer};
use anyhow::{Context as _, bail};

use crate::cli::trust::is_own;
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

/// Refuses to replace a file unless `overwrite` is set, to write to a terminal, and to write where another user
/// prepared the way: a recording names peers and processes, and is root's as a rule.
fn file(path: &Path, overwrite: bool) -> anyhow::Result<File> {
    if path == Path::new("-") {
        let stdout = io::stdout();
        if stdout.is_terminal() {
            bail!("a recording is not for a terminal: name a file, or a command to read it");
        }
        return Ok(stdout.as_fd().try_clone_to_owned().context("open the standard output")?.into());
    }
    refuse_path_of_others(path)?;
    let doing = || format!("create {}", path.display());
    match create(path) {
        Ok(file) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            refuse_to_replace(path, overwrite)?;
            // Whoever has the old file open, or may read it, gets nothing of the new one.
            fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?;
            create(path).with_context(doing)
        }
        Err(error) => Err(error).with_context(doing),
    }
}

/// Creates a file that was not there: `O_EXCL` follows no link.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Whoever owns a folder on the way, or may rename what is in it, decides where the name leads to. So both the way as
/// it is written and the way that its links lead are looked at.
fn refuse_path_of_others(path: &Path) -> anyhow::Result<()> {
    let written = std::path::absolute(path).with_context(|| format!("find {}", path.display()))?;
    let folder = written.parent().unwrap_or(&written);
    let real = folder.canonicalize().with_context(|| format!("find {}", folder.display()))?;
    folder.ancestors().chain(real.ancestors()).try_for_each(refuse_folder_of_others)
}

fn refuse_folder_of_others(folder: &Path) -> anyhow::Result<()> {
    let name = folder.display();
    let found = fs::symlink_metadata(folder).with_context(|| format!("look at {name}"))?;
    if !is_own(found.uid()) {
        bail!("{name} belongs to another user: record to a folder of your own");
    }
    if found.is_dir() && found.mode() & (OTHERS_WRITE | STICKY) == OTHERS_WRITE {
        bail!("anybody may replace files in {name}: record to a folder of your own");
    }
    Ok(())
}

fn refuse_to_replace(path: &Path, overwrite: bool) -> anyhow::Result<()> {
    let name = path.display();
    let old = fs::symlink_metadata(path).with_context(|| format!("look at {name}"))?;
    if old.is_symlink() {
        bail!("{name} is a symbolic link: name the file itself");
    }
    if !old.is_file() {
        bail!("{name} is not a regular file: name one, or - for the standard output");
    }
    if !is_own(old.uid()) {
        bail!("{name} belongs to another user: name another file");
    }
    if old.len() > 0 && !overwrite {
        bail!("{name} is there already: name another file, or add --overwrite");
    }
    Ok(())
}

/// `S_IWOTH`
const OTHERS_WRITE: u32 = 0o002;
/// `S_ISVTX`: only owners rename and remove.
const STICKY: u32 = 0o1000;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::PathBuf;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// A folder of this test's own, which goes with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("tcpwhy-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn refusal(path: &Path) -> String {
        file(path, true).unwrap_err().to_string()
    }

    #[test]
    fn a_file_is_private_and_not_replaced_unawares() {
        let folder = Folder::new("record-private");
        let path = folder.0.join("a.rec");
        let opened = file(&path, false).unwrap();
        assert_eq!(opened.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(file(&path, false).unwrap_err().to_string().ends_with("or add --overwrite"));
        let replaced = file(&path, true).unwrap().metadata().unwrap();
        assert_eq!((replaced.len(), replaced.permissions().mode() & 0o777), (0, 0o600));
        assert_eq!(fs::metadata(&path).unwrap().ino(), replaced.ino());
    }

    #[test]
    fn no_link_is_followed_and_nothing_but_a_file_is_opened() {
        let folder = Folder::new("record-link");
        let (target, link, fifo) = (folder.0.join("shadow"), folder.0.join("link"), folder.0.join("fifo"));
        fs::write(&target, "secret").unwrap();
        symlink(&target, &link).unwrap();
        assert!(refusal(&link).contains("is a symbolic link"));
        let dangling = folder.0.join("dangling");
        symlink(folder.0.join("nothing"), &dangling).unwrap();
        assert!(refusal(&dangling).contains("is a symbolic link"));
        assert!(!folder.0.join("nothing").exists());
        assert_eq!(fs::read_to_string(&target).unwrap(), "secret");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert!(refusal(&fifo).contains("is not a regular file"), "open() would wait for a reader");
        assert!(refusal(Path::new("/dev/full")).contains("is not a regular file"));
    }

    #[test]
    fn a_folder_in_which_others_rename_files_is_refused() {
        let folder = Folder::new("record-folder");
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(refusal(&folder.0.join("a.rec")).starts_with("anybody may replace files in"));
        fs::create_dir(folder.0.join("below")).unwrap();
        assert!(refusal(&folder.0.join("below/a.rec")).starts_with("anybody may replace files in"));
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o1777)).unwrap();
        file(&folder.0.join("a.rec"), false).unwrap();
        file(&folder.0.join("below/a.rec"), false).unwrap();
    }
}
