//! The live page: what `tcpwhy top` shows, in a browser on this host. A listener of its own, on loopback
//! only and off unless asked for; whoever may connect to loopback here may read it.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};

use agent_source::blocking;
use http_body_util::Either;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, Response, StatusCode};

use super::api::{Api, ApiBody};
use super::http::{TextBody, refuse_method, text, typed};

/// One file, style and script inside.
const PAGE: &str = include_str!("page.html");
/// What stands in it for the nonce of one answer.
const NONCE: &str = "NONCE";

/// Answers one request.
pub(super) async fn handle<B>(api: Api, request: Request<B>) -> Response<ApiBody> {
    let mut response = if !is_ours(&request) {
        let refusal = "only as localhost or a loopback address: another site's name leads here\n";
        text(StatusCode::FORBIDDEN, refusal).map(Either::Left)
    } else if request.uri().path() == "/" {
        match refuse_method(&request) {
            Some(refusal) => refusal,
            None => blocking::run(page).await,
        }
        .map(Either::Left)
    } else {
        api.handle(request).await
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
        (HeaderName::from_static("referrer-policy"), "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A name that another site lets point to loopback (DNS rebinding) still stands in the request's `Host`, or before its
/// path. A request that names two hosts means one of them to us, and another to somebody else.
fn is_ours<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let before_path = request.uri().authority().map(Authority::as_str);
    host.to_str().is_ok_and(is_own_name) && before_path.is_none_or(is_own_name)
}

fn is_own_name(host: &str) -> bool {
    host_of(host).is_some_and(|name| name == "localhost" || is_loopback(name))
}

/// Without the port; nothing else may follow the name.
fn host_of(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']')?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(name)
}

fn is_loopback(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Script and style run by a nonce that no injected text can know.
fn page() -> Response<TextBody> {
    let Ok(nonce) = nonce() else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "read /dev/urandom\n");
    };
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut response = typed(StatusCode::OK, "text/html; charset=utf-8", PAGE.replace(NONCE, &nonce));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn nonce() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

/// Reads `--page`: nothing but loopback.
pub fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|error| format!("{error}, want one like 127.0.0.1:9753"))?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("the page names peers and processes: only a loopback address, like 127.0.0.1:9753; from afar use \
         `ssh -L` or `kubectl port-forward`"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_as(host: &str) -> bool {
        is_ours(&Request::get("/").header(HOST, host).body(()).unwrap())
    }

    #[test]
    fn only_loopback_names_are_answered() {
        for host in ["localhost", "localhost:9753", "127.0.0.1:9753", "127.8.8.8", "[::1]:9753", "[::1]"] {
            assert!(asked_as(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "198.51.100.1:9753",
            "[2001:db8::1]",
            "[::1",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "localhost:@evil.example",
            "localhost:9753@evil.example",
            "localhost:9753:80",
            "[::1]evil.example",
            "[::1]:evil.example",
        ] {
            assert!(!asked_as(host), "{host}");
        }
        assert!(!is_ours(&Request::get("/").body(()).unwrap()));
    }

    #[test]
    fn exactly_one_host_is_named() {
        let (ours, theirs) = ("localhost:9753", "evil.example");
        for (first, second) in [(ours, theirs), (theirs, ours), (ours, ours)] {
            let request = Request::get("/").header(HOST, first).header(HOST, second);
            assert!(!is_ours(&request.body(()).unwrap()), "{first}, {second}");
        }
        let absolute = |uri: &str| is_ours(&Request::get(uri).header(HOST, ours).body(()).unwrap());
        assert!(absolute("http://localhost:9753/"));
        assert!(!absolute("http://evil.example/") && !absolute("http://localhost@evil.example/"));
    }

    #[test]
    fn only_loopback_is_listened_on() {
        assert!(loopback("127.0.0.1:9753").is_ok() && loopback("[::1]:0").is_ok());
        for address in ["0.0.0.0:9753", "198.51.100.1:80", "[::]:9753", "9753", "localhost:9753"] {
            assert!(loopback(address).is_err(), "{address}");
        }
    }

    #[test]
    fn each_answer_has_a_nonce_of_its_own() {
        let policy = || page().headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert_ne!(policy(), policy());
        assert!(policy().starts_with("default-src 'none'; script-src 'nonce-"));
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        for part in ["http://", "https://", "src=\"//", "innerHTML", "eval(", " on"] {
            let found =
                PAGE.lines().find(|line| line.contains(part) && (part != " on" || line.contains("=\"on")));
            assert_eq!(found, None, "{part}");
        }
        assert_eq!(PAGE.matches(NONCE).count(), 2);
    }
}
