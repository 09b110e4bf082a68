//! The way to a server of others: TCP, TLS where its address says https, HTTP/1.1. One connection a request.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::Uri;
use hyper::body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::blocking;

/// There is no way to the server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Its address has no host.
    #[error("{0} names no server")]
    Server(Uri),
    /// It does not answer, or is not the one it should be.
    #[error("connect to {0}")]
    Connect(Uri, #[source] io::Error),
    /// The certificates that are trusted are none.
    #[error("read the certificates of {}", .0.display())]
    Certificates(PathBuf, #[source] Box<dyn Error + Send + Sync>),
    /// HTTP went wrong.
    #[error("begin with HTTP")]
    Http(#[from] hyper::Error),
}

/// Connects to `server`; https trusts the certificates of the PEM file `roots` alone.
pub async fn http<B>(server: &Uri, roots: Option<&Path>) -> Result<SendRequest<B>, ConnectError>
where
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let host = server.host().ok_or_else(|| ConnectError::Server(server.clone()))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_plain = server.scheme_str() == Some("http");
    let port = server.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
    let refused = |error| ConnectError::Connect(server.clone(), error);
    let stream = TcpStream::connect((host, port)).await.map_err(refused)?;
    if is_plain {
        return handshake(stream).await;
    }
    let name = match host.parse::<IpAddr>() {
        Ok(address) => ServerName::from(address),
        Err(_) => ServerName::try_from(host.to_owned()).map_err(|_| ConnectError::Server(server.clone()))?,
    };
    let roots = roots.unwrap_or(Path::new("")).to_owned();
    let connector = blocking::run(move || connector(&roots)).await?;
    handshake(connector.connect(name, stream).await.map_err(refused)?).await
}

async fn handshake<S, B>(stream: S) -> Result<SendRequest<B>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer, or when that is dropped; what went wrong is in the answer.
    tokio::spawn(connection);
    Ok(sender)
}

fn connector(path: &Path) -> Result<TlsConnector, ConnectError> {
    let wrong = |error: Box<dyn Error + Send + Sync>| ConnectError::Certificates(path.to_owned(), error);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.into()))? {
        let certificate = certificate.map_err(|error| wrong(error.into()))?;
        roots.add(certificate).map_err(|error| wrong(error.into()))?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
