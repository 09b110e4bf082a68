//! Requests to the API server: HTTP/1.1 over TLS, one connection each, with the pod's own service account.
//!
//! Small on purpose: `kube` 5.0 with its types takes 175 crates, 8.9 MB and some four minutes to build, eight
//! times the rest of the agent, for one list and one watch of one kind.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use agent_model::escape::Escaped;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use tokio::time::timeout;
use tokio_util::codec::{AnyDelimiterCodec, Decoder as _};

use super::object::PodObject;
use crate::blocking;
use crate::connect;
use crate::connect::ConnectError;

/// Time for a connection, and for the head of an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Bytes of an error's text.
const MAX_ERROR: usize = 64 << 10;

/// Bytes of one line of a watch, or of a whole list: etcd stores objects of at most 1.5 MiB, a node runs at
/// most a few hundred pods.
const MAX_LINE: usize = 64 << 20;

/// Where the API is, and who asks.
#[derive(Clone, Debug)]
pub struct Api {
    /// `https://HOST:PORT`, or `http://HOST:PORT` of a local `kubectl proxy`.
    pub server: Uri,
    /// Folder with the files `token` and `ca.crt`.
    pub credentials: PathBuf,
    /// Name of this node.
    pub node: String,
}

/// The API did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No way to it.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A file of the service account.
    #[error("read {}", .0.display())]
    Credentials(PathBuf, #[source] io::Error),
    /// HTTP went wrong.
    #[error("ask the API server")]
    Http(#[from] hyper::Error),
    /// Refused: 403 is a matter of RBAC.
    #[error("the API server refuses with {0}: {text}", text = Escaped(.1))]
    Refused(StatusCode, String),
    /// No answer in time.
    #[error("no answer from the API server")]
    Silent,
    /// More than anybody would send.
    #[error("a line of more than {MAX_LINE} bytes from the API server")]
    TooLong,
    /// Not what was asked for.
    #[error("read the API server's answer")]
    Json(#[from] serde_json::Error),
    /// The version to go on from is too old: list again.
    #[error("the API server has forgotten where the watch was")]
    Expired,
}

/// An answer, line by line.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    buffer: BytesMut,
    codec: AnyDelimiterCodec,
}

impl Api {
    /// Asks for `path`.
    pub async fn get(&self, path: &str) -> Result<Lines, ApiError> {
        let response = timeout(PATIENCE, self.request(path)).await.map_err(|_| ApiError::Silent)??;
        let status = response.status();
        let codec = AnyDelimiterCodec::new_with_max_length(b"\n".to_vec(), Vec::new(), MAX_LINE);
        let mut lines = Lines { body: response.into_body(), buffer: BytesMut::new(), codec };
        if status.is_success() {
            return Ok(lines);
        }
        if status == StatusCode::GONE {
            return Err(ApiError::Expired);
        }
        let text = timeout(PATIENCE, lines.rest(MAX_ERROR)).await.map_err(|_| ApiError::Silent)??;
        let message = serde_json::from_slice::<PodObject>(&text).map(|status| status.message);
        Err(ApiError::Refused(status, message.unwrap_or_default()))
    }

    async fn request(&self, path: &str) -> Result<Response<Incoming>, ApiError> {
        let roots = self.credentials.join("ca.crt");
        let mut sender = connect::http(&self.server, Some(&roots)).await?;
        let is_plain = self.server.scheme_str() == Some("http");
        // Read anew each time: the kubelet changes it every hour.
        let token = if is_plain { None } else { Some(self.read("token").await?) };
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = path.parse().map_err(|_| ConnectError::Server(self.server.clone()))?;
        let headers = request.headers_mut();
        let authority = self.server.authority().map(hyper::http::uri::Authority::as_str);
        headers.extend(authority.and_then(|host| Some((HOST, HeaderValue::from_str(host).ok()?))));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tcpwhy/", env!("CARGO_PKG_VERSION"))));
        let bearer = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {}", token.trim())).ok());
        headers.extend(bearer.map(|bearer| (AUTHORIZATION, bearer)));
        Ok(sender.send_request(request).await?)
    }

    async fn read(&self, name: &str) -> Result<String, ApiError> {
        let path = self.credentials.join(name);
        let read = move || fs::read_to_string(&path).map_err(|error| ApiError::Credentials(path, error));
        blocking::run(read).await
    }
}

impl Lines {
    /// The next line; `None` at the end. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            let line = self.codec.decode(&mut self.buffer).map_err(|_| ApiError::TooLong)?;
            if line.is_some() {
                return Ok(line);
            }
            if !self.fill().await? {
                return self.codec.decode_eof(&mut self.buffer).map_err(|_| ApiError::TooLong);
            }
        }
    }

    /// All that is left.
    pub async fn all(&mut self) -> Result<BytesMut, ApiError> {
        self.rest(MAX_LINE).await
    }

    async fn rest(&mut self, limit: usize) -> Result<BytesMut, ApiError> {
        while self.fill().await? {
            if self.buffer.len() > limit {
                return Err(ApiError::TooLong);
            }
        }
        Ok(self.buffer.split())
    }

    async fn fill(&mut self) -> Result<bool, ApiError> {
        let Some(frame) = self.body.frame().await else { return Ok(false) };
        if let Ok(data) = frame?.into_data() {
            self.buffer.extend_from_slice(&data);
        }
        Ok(true)
    }
}

/// The service account of the pod that this runs in, if it runs in one.
pub fn in_cluster(host: Option<String>, port: Option<String>, credentials: &Path) -> Option<Uri> {
    let (host, port) = (host?, port?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let server = format!("https://{host}:{port}").parse().ok()?;
    credentials.join("token").exists().then_some(server)
}
