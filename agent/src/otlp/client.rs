//! The way to the receiver: one request a message, HTTP/1.1, over TLS if the endpoint says so.

use std::path::PathBuf;
use std::time::Duration;

use agent_source::connect;
use agent_source::connect::ConnectError;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use prost::Message as _;
use tokio::time::timeout;

/// Limit on connecting, sending a message and reading its answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of an answer.
const ANSWER_BYTES: usize = 64 << 10;
/// Where receivers have logs, if the endpoint names no path.
const PATH: &str = "/v1/logs";

/// Where the records go.
#[derive(Clone, Debug)]
pub struct Collector {
    endpoint: Uri,
    certificates: Option<PathBuf>,
    headers: HeaderMap,
}

/// The receiver did not take a message.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// No way to it.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// HTTP went wrong.
    #[error("send to the receiver")]
    Http(#[from] hyper::Error),
    /// No answer in time.
    #[error("no answer from the receiver")]
    Silent,
    /// It would not take the message at a second attempt either.
    #[error("the receiver answers {0}: {1}")]
    Refused(StatusCode, String),
}

/// The receiver's answer.
pub(super) enum Answer {
    /// It took all but these records.
    Taken {
        /// Records that it threw away.
        rejected: u64,
    },
    /// Try again, after a time if it names one.
    Later(Option<Duration>),
}

impl Collector {
    /// At `endpoint`; https takes the certificates that are trusted, as PEM. `headers` are `NAME=VALUE`.
    pub fn new(endpoint: &Uri, certificates: Option<PathBuf>, headers: &[String]) -> Result<Self, String> {
        let path = endpoint.path_and_query().map_or("/", |path| path.as_str());
        let mut parts = endpoint.clone().into_parts();
        if path == "/" {
            parts.path_and_query = Some(PATH.parse().map_err(|error| format!("{error}"))?);
        }
        let endpoint = Uri::from_parts(parts).map_err(|error| error.to_string())?;
        match (endpoint.scheme_str(), endpoint.host(), &certificates) {
            (Some("http"), Some(_), _) | (Some("https"), Some(_), Some(_)) => {}
            (Some("https"), Some(_), None) => return Err("https needs --otlp-certificates".to_owned()),
            _ => return Err("neither http://HOST:PORT nor https://HOST:PORT".to_owned()),
        }
        let headers = headers.iter().map(|header| self::header(header)).collect::<Result<_, _>>()?;
        Ok(Self { endpoint, certificates, headers })
    }

    /// Where it is, for the log.
    pub(super) fn endpoint(&self) -> &Uri {
        &self.endpoint
    }

    pub(super) async fn send(&self, request: &ExportLogsServiceRequest) -> Result<Answer, OtlpError> {
        let send = async {
            let response = self.post(request.encode_to_vec()).await?;
            let (status, later) = (response.status(), retry_after(&response));
            let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            match status {
                status if status.is_success() => Ok(Answer::Taken { rejected: rejected(&body) }),
                // The codes that the protocol has tried again.
                StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT => Ok(Answer::Later(later)),
                status => {
                    Err(OtlpError::Refused(status, String::from_utf8_lossy(&body).escape_debug().to_string()))
                }
            }
        };
        timeout(PATIENCE, send).await.map_err(|_| OtlpError::Silent)?
    }

    async fn post(&self, message: Vec<u8>) -> Result<Response<hyper::body::Incoming>, OtlpError> {
        let Self { endpoint, certificates, headers } = self;
        let mut sender = connect::http(endpoint, certificates.as_deref()).await?;
        let mut request = Request::new(Full::new(Bytes::from(message)));
        *request.method_mut() = Method::POST;
        let path = endpoint.path_and_query().cloned().map(Uri::from);
        *request.uri_mut() = path.unwrap_or_default();
        *request.headers_mut() = headers.clone();
        let authority = endpoint.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        request.headers_mut().extend(authority.map(|host| (HOST, host)));
        let fixed = [
            (CONTENT_TYPE, "application/x-protobuf"),
            (USER_AGENT, concat!("tcpwhy/", env!("CARGO_PKG_VERSION"))),
        ];
        request.headers_mut().extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
        Ok(sender.send_request(request).await?)
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once('=').ok_or("not NAME=VALUE")?;
    let name = name.trim().parse::<HeaderName>().map_err(|error| error.to_string())?;
    let mut value = value.trim().parse::<HeaderValue>().map_err(|error| error.to_string())?;
    // A token, more often than not.
    value.set_sensitive(true);
    Ok((name, value))
}

/// Only its form in seconds.
fn retry_after<B>(response: &Response<B>) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// An answer that cannot be read took all.
fn rejected(body: &Bytes) -> u64 {
    let response = ExportLogsServiceResponse::decode(body.clone()).unwrap_or_default();
    let partial = response.partial_success.map_or(0, |partial| partial.rejected_log_records);
    u64::try_from(partial).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_path_is_added_and_tls_takes_certificates() {
        let at = |uri: &str, certificates: Option<&str>| {
            Collector::new(&uri.parse().unwrap(), certificates.map(PathBuf::from), &[])
        };
        assert_eq!(at("http://192.0.2.1:4318", None).unwrap().endpoint.path(), "/v1/logs");
        assert_eq!(at("http://192.0.2.1:3100/otlp/v1/logs", None).unwrap().endpoint.path(), "/otlp/v1/logs");
        assert!(at("https://192.0.2.1:4318", None).unwrap_err().contains("--otlp-certificates"));
        assert!(at("https://192.0.2.1:4318", Some("ca.crt")).is_ok());
        assert!(at("/v1/logs", None).is_err());
    }

    #[test]
    fn headers_are_read_and_kept_secret() {
        let uri = "http://192.0.2.1:4318".parse().unwrap();
        let collector = Collector::new(&uri, None, &["authorization=Bearer x=y".to_owned()]).unwrap();
        assert_eq!(collector.headers["authorization"], "Bearer x=y");
        assert!(!format!("{collector:?}").contains("Bearer"));
        assert!(Collector::new(&uri, None, &["authorization".to_owned()]).is_err());
    }
}
