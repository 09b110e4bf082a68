//! The other end of the query API.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::lines::{LINE_BYTES, LineBuffer, TooLong};
use super::trust::is_own;

/// Of an error's text that is shown.
const ERROR_BYTES: usize = 4 << 10;

/// The agent cannot be asked, or no longer answers.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// Nobody there.
    #[error("connect to {}: no agent runs there; start `tcpwhy agent`, name its --socket, or attach without one by --standalone", .0.display())]
    NoAgent(PathBuf),
    /// Not for this user.
    #[error("connect to {}: only its owner and group may: run as root, or join the group", .0.display())]
    NotPermitted(PathBuf),
    /// Whoever was there first.
    #[error("connect to {}: user {uid} answers there, neither root nor you: what it says is not believed; \
        if that is your agent, ask as its user", path.display())]
    Foreign {
        /// Where.
        path: PathBuf,
        /// Who began to listen.
        uid: u32,
    },
    /// The system refused.
    #[error("connect to {}", path.display())]
    Connect {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The agent refused.
    #[error("ask the agent: {0}")]
    Refused(String),
    /// It is gone.
    #[error("the agent ended (`tcpwhy tail --follow` waits for the next)")]
    Ended,
    /// It broke off.
    #[error("the agent broke off")]
    BrokenOff(#[from] hyper::Error),
    /// Not an agent at the other end.
    #[error("read the event stream: a line of more than {LINE_BYTES} bytes")]
    Endless,
}

/// The lines of a stream.
#[derive(Debug)]
pub(super) struct Lines {
    body: Incoming,
    buffer: LineBuffer,
}

/// The whole answer to `path_and_query`.
pub(super) async fn ask(socket: &Path, path_and_query: &str) -> Result<String, ClientError> {
    let body = request(socket, path_and_query).await?.into_body();
    let body = http_body_util::Limited::new(body, LINE_BYTES).collect().await;
    let bytes = body.map_err(|_| ClientError::Endless)?.to_bytes();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Opens `path_and_query` of the agent at `socket`.
pub(super) async fn open(socket: &Path, path_and_query: &str) -> Result<Lines, ClientError> {
    Ok(Lines { body: request(socket, path_and_query).await?.into_body(), buffer: LineBuffer::new() })
}

async fn request(socket: &Path, path_and_query: &str) -> Result<Response<Incoming>, ClientError> {
    let stream = connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the body, whose end says how it ended.
    tokio::spawn(connection);
    let request = Request::get(path_and_query).header("host", "tcpwhy").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| ClientError::Refused(error.to_string()))?;
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::OK {
        return Err(refusal(response).await);
    }
    Ok(response)
}

/// To an agent of root's or of this user's: a folder may be another's, and so may what listens in it.
async fn connect(socket: &Path) -> Result<UnixStream, ClientError> {
    let stream = UnixStream::connect(socket).await.map_err(|error| connect_error(socket, error))?;
    let uid = stream.peer_cred().map_err(|error| connect_error(socket, error))?.uid();
    if is_own(uid) { Ok(stream) } else { Err(ClientError::Foreign { path: socket.to_owned(), uid }) }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "kinds of errors are std's, and many")]
fn connect_error(socket: &Path, source: io::Error) -> ClientError {
    let path = socket.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NoAgent(path),
        io::ErrorKind::PermissionDenied => ClientError::NotPermitted(path),
        _ => ClientError::Connect { path, source },
    }
}

async fn refusal(response: Response<Incoming>) -> ClientError {
    let status = response.status();
    let body = http_body_util::Limited::new(response.into_body(), ERROR_BYTES).collect().await;
    let text =
        body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()).unwrap_or_default();
    ClientError::Refused(if text.is_empty() { status.to_string() } else { text })
}

impl ClientError {
    /// Whether an agent may answer another time: this one ended, or none runs yet.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::NoAgent(_) | Self::Ended | Self::BrokenOff(_) => true,
            Self::NotPermitted(_)
            | Self::Foreign { .. }
            | Self::Connect { .. }
            | Self::Refused(_)
            | Self::Endless => false,
        }
    }
}

impl Lines {
    /// Waits for whole lines, as many as came.
    pub(super) async fn next(&mut self) -> Result<Vec<String>, ClientError> {
        loop {
            let whole = self.whole().map_err(|TooLong| ClientError::Endless)?;
            if !whole.is_empty() {
                return Ok(whole);
            }
            let frame = self.body.frame().await.ok_or(ClientError::Ended)??;
            self.buffer.push(frame.data_ref().map_or(&[], |data| &data[..]));
        }
    }

    fn whole(&mut self) -> Result<Vec<String>, TooLong> {
        std::iter::from_fn(|| self.buffer.next().transpose()).collect()
    }
}
