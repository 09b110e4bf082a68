//! The TCP listener: metrics and health, nothing that names a peer or a process.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::desk::Desk;
use super::listener::Limits;
use crate::metrics::{Format, Metrics};

/// Scrapers are few; whoever opens more waits.
pub(super) const LIMITS: Limits =
    Limits { connections: 32, head: Duration::from_secs(10), life: Some(Duration::from_mins(1)) };

const INDEX: &str = "tcpwhy: why did this TCP connection stall or die?\n\n\
    /metrics  Prometheus metrics\n\
    /healthz  200 while the agent runs\n\
    /readyz   200 once all required probes are attached; lists those that are not\n";

pub(super) type TextBody = Full<Bytes>;

/// A short text.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<TextBody> {
    typed(status, "text/plain; charset=utf-8", text)
}

/// A body of type `content`.
pub(super) fn typed(status: StatusCode, content: &'static str, body: impl Into<Bytes>) -> Response<TextBody> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
    response
}

/// An answer to anything but GET and HEAD: nothing here can be changed.
pub(super) fn refuse_method<B>(request: &Request<B>) -> Option<Response<TextBody>> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    Some(response)
}

/// What it answers from.
#[derive(Clone, Debug)]
pub(super) struct Web {
    metrics: Arc<Metrics>,
    desk: Desk,
}

impl Web {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, desk: Desk::new() }
    }

    /// Answers one request.
    pub(super) async fn handle<B>(self, request: Request<B>) -> Response<TextBody> {
        if let Some(refusal) = refuse_method(&request) {
            return refusal;
        }
        match request.uri().path() {
            "/" => text(StatusCode::OK, INDEX),
            "/metrics" => self.scrape(format(&request)).await,
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => ready(&self.metrics),
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    /// Reading the kernel's maps takes milliseconds on a large host.
    async fn scrape(self, format: Format) -> Response<TextBody> {
        let Self { metrics, desk } = self;
        match desk.run(move || metrics.render(format)).await {
            Ok(page) => typed(StatusCode::OK, format.content_type(), page),
            Err(error) => failed(&error.into()),
        }
    }
}

fn format<B>(request: &Request<B>) -> Format {
    let accepted = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    Format::negotiate(&accepted.collect::<Vec<_>>().join(","))
}

fn failed(error: &anyhow::Error) -> Response<TextBody> {
    log::error!("{error:#}");
    text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n"))
}

fn ready(metrics: &Metrics) -> Response<TextBody> {
    let probes = metrics.probes();
    let ready = probes.iter().all(|probe| probe.up || !probe.required);
    let mut page = if ready { "ready\n" } else { "not ready\n" }.to_owned();
    for probe in probes.iter().filter(|probe| !probe.up) {
        let why = probe.error.as_deref().unwrap_or("not attached");
        let _ = writeln!(page, "{} is down ({why}): not known is {}", probe.name, probe.lost_without);
    }
    text(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, page)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::metrics::tests::{Fake, busy, host, metrics};

    async fn get(metrics: Metrics, path: &str, accept: &str) -> (StatusCode, String, String) {
        let request = Request::get(path).header(ACCEPT, accept).body(()).unwrap();
        let response = Web::new(Arc::new(metrics)).handle(request).await;
        let (status, kind) =
            (response.status(), response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, kind, String::from_utf8(body.into()).unwrap())
    }

    #[tokio::test]
    async fn metrics_come_in_the_form_that_was_asked_for() {
        let (status, kind, page) =
            get(metrics(busy(), host()), "/metrics", "application/openmetrics-text").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        assert!(page.ends_with("# EOF\n"));
        let (_, kind, page) = get(metrics(busy(), host()), "/metrics", "*/*").await;
        assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
        assert!(!page.contains("# EOF"));
    }

    #[tokio::test]
    async fn a_scrape_that_fails_says_why() {
        let broken = Fake { broken: true, ..Fake::default() };
        let (status, _, page) = get(metrics(broken, host()), "/metrics", "*/*").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(page, "read the kernel's counters: read map COUNTS\n");
    }

    #[tokio::test]
    async fn readiness_lists_what_is_down() {
        let (status, _, page) = get(metrics(busy(), host()), "/readyz", "*/*").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            page,
            "ready\nbuf_limit_exceeded is down (not in this kernel): not known is who runs out of memory\n"
        );
    }

    #[tokio::test]
    async fn only_what_is_there_can_be_read() {
        assert_eq!(get(metrics(busy(), host()), "/v1/events", "*/*").await.0, StatusCode::NOT_FOUND);
        assert!(get(metrics(busy(), host()), "/", "*/*").await.2.contains("/metrics"));
        let post = Request::post("/metrics").body(()).unwrap();
        let response = Web::new(Arc::new(metrics(busy(), host()))).handle(post).await;
        assert_eq!(
            (response.status(), &response.headers()[ALLOW]),
            (StatusCode::METHOD_NOT_ALLOWED, &HeaderValue::from_static("GET, HEAD"))
        );
    }
}
