//! The unix socket of the query API: who may talk to it, and who was here before.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::time::timeout;

/// Owner and group: events name peers and processes.
const MODE: u32 = 0o660;
/// Of the directory, where it is missing.
const DIRECTORY_MODE: u32 = 0o750;
/// Connections that may wait while all places are taken.
const BACKLOG: u32 = 64;
/// What an agent has to answer in, or to end: closing a killed one's probes takes tens of milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// The query socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A second agent.
    #[error("open the query socket {}: an agent{} already answers there, end it or choose another with --socket",
        path.display(), of_pid(*pid))]
    Taken {
        /// Where.
        path: PathBuf,
        /// Whose.
        pid: Option<i32>,
    },
    /// Something that is not ours to remove.
    #[error("open the query socket {}: the file is not a socket, choose another path with --socket", .0.display())]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

fn of_pid(pid: Option<i32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

/// A bound socket, with the file that it made. The file goes with it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    pub(super) file: SocketFile,
}

/// Removes the file when dropped, unless another agent has put its own there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            // Left behind it is stale, and the next agent replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Socket {
    /// Binds `path`, in place of a socket file that nobody answers on.
    pub(super) async fn bind(path: &Path) -> Result<Self, SocketError> {
        let io = |action| move |source| SocketError::Io { action, path: path.to_owned(), source };
        make_room(path).await?;
        let listener = listen(path).map_err(io("open the query socket"))?;
        // The umask may have taken the group's part; it was never wider than this.
        fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(io("set the mode of"))?;
        let inode = fs::symlink_metadata(path).map_err(io("look at"))?.ino();
        Ok(Self { listener, file: SocketFile { path: path.to_owned(), inode } })
    }
}

/// The socket's inode gets its mode before it has a name: at no time can anybody else connect.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    File::from(socket.as_fd().try_clone_to_owned()?).set_permissions(Permissions::from_mode(MODE))?;
    socket.bind(path)?;
    socket.listen(BACKLOG)
}

async fn make_room(path: &Path) -> Result<(), SocketError> {
    let io = |action| move |source| SocketError::Io { action, path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => replace_stale(path).await,
        Ok(_) => Err(SocketError::NotASocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_directory(path),
        Err(error) => Err(io("look at")(error)),
    }
}

async fn replace_stale(path: &Path) -> Result<(), SocketError> {
    let taken = |pid| SocketError::Taken { path: path.to_owned(), pid };
    match UnixStream::connect(path).await {
        Ok(stream) => {
            let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
            if hangs_up(stream).await { remove_stale(path) } else { Err(taken(pid)) }
        }
        Err(error) if is_end(&error) => remove_stale(path),
        // Its backlog is full: it lives.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(taken(None)),
        Err(source) => Err(SocketError::Io { action: "ask who answers on", path: path.to_owned(), source }),
    }
}

/// Whether who listens goes away unanswered. An agent that was killed listens until the kernel has closed its
/// files (`do_exit`), the probes' before the socket; one that is stopped or overloaded keeps who calls waiting.
async fn hangs_up(stream: UnixStream) -> bool {
    let ask = async {
        stream.writable().await?;
        stream.try_write(b"GET /healthz HTTP/1.1\r\nHost: tcpwhy\r\nConnection: close\r\n\r\n")?;
        stream.readable().await?;
        stream.try_read(&mut [0])
    };
    match timeout(PATIENCE, ask).await {
        Ok(Ok(read)) => read == 0,
        Ok(Err(error)) => is_end(&error),
        Err(_elapsed) => false,
    }
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionRefused | ConnectionReset)
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    log::info!("replace {}, left behind by an agent that ended", path.display());
    let io = |source| SocketError::Io { action: "remove the stale socket", path: path.to_owned(), source };
    fs::remove_file(path).map_err(io)
}

fn make_directory(path: &Path) -> Result<(), SocketError> {
    let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.exists())
    else {
        return Ok(());
    };
    let make = || {
        fs::create_dir_all(directory)?;
        fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE))
    };
    make().map_err(|source| SocketError::Io { action: "make directory", path: directory.to_owned(), source })
}
