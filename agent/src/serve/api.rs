//! The query API on the unix socket: `curl --unix-socket /run/tcpwhy/tcpwhy.sock http://tcpwhy/v1/events`.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use agent_model::counters::ProbeHealth;
use agent_model::event::HostFacts;
use agent_model::schema::VERSION;
use bytes::Bytes;
use http_body_util::Either;
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::desk::Desk;
use super::feed::{Feed, FeedItem, Reader};
use super::http::{TextBody, refuse_method, text, typed};
use super::listener::{Limits, Stop};
use super::servers::Services;
use crate::answers::top::{Memory, Top};
use crate::answers::why::{Answers, Wanted, WhyReport, svg};
use crate::filter::Filter;
use crate::filter::query::Query;
use crate::metrics::Metrics;
use crate::schema::{Diagnosis, Item, Line, json_line};

/// Readers of the stream stay as long as they like.
pub(super) const LIMITS: Limits =
    Limits { connections: Limits::MOST_CLIENTS, head: Duration::from_secs(10), life: None };
/// Streams at once; places remain for `status`.
const STREAMS: usize = 48;
/// Bytes after which a chunk is handed on.
const CHUNK_BYTES: usize = 64 << 10;
/// Events looked at before others get their turn: a filter may take none of them.
const CHUNK_EVENTS: usize = 256;
/// Chunks that wait for a slow reader; whatever comes meanwhile, the feed keeps or counts as missed.
const CHUNKS: usize = 2;

/// Holders of a connection may be shown as they were this long ago: most questions need not wait for a walk.
const OLD_ENOUGH: Duration = Duration::from_secs(1);

const NO_MATCH: &str = "no connection matches, neither of those that are open nor of those that had trouble, of which \
    tcpwhy forgets the dead after --history-age\n";

/// What the API answers from.
#[derive(Clone)]
pub(super) struct Api {
    metrics: Arc<Metrics>,
    feed: Feed,
    host: Arc<HostFacts>,
    answers: Arc<dyn Answers>,
    desk: Desk,
    streams: Arc<Semaphore>,
    stop: Stop,
}

/// Answer of `/v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of the schema.
    pub v: u32,
    /// Version of the agent.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// `uname -r`
    pub kernel: String,
    /// Readers of the event stream.
    pub readers: usize,
    /// Events that readers were too slow for.
    pub missed: u64,
    /// The table of probes.
    pub probes: Vec<ProbeHealth>,
}

/// A text, or the stream.
pub(super) type ApiBody = Either<TextBody, Lines>;

impl Api {
    pub(super) fn new(services: Services, stop: Stop) -> Self {
        let Services { metrics, feed, host, answers } = services;
        let (desk, streams) = (Desk::new(), Arc::new(Semaphore::new(STREAMS)));
        Self { metrics, feed, host, answers, desk, streams, stop }
    }

    /// Answers one request.
    pub(super) async fn handle<B>(self, request: Request<B>) -> Response<ApiBody> {
        if let Some(refusal) = refuse_method(&request) {
            return refusal.map(Either::Left);
        }
        match request.uri().path() {
            "/v1/events" => self.events(request.uri().query().unwrap_or_default()),
            "/v1/why" => self.why(request.uri().query().unwrap_or_default()).await.map(Either::Left),
            "/v1/advise" => self.advise().await.map(Either::Left),
            "/v1/families" => self.families().await.map(Either::Left),
            "/v1/why.svg" => self.picture(request.uri().query().unwrap_or_default()).await.map(Either::Left),
            "/v1/top" => self.on_desk(Self::top).await.map(Either::Left),
            "/v1/status" => self.status().map(Either::Left),
            _ => text(
                StatusCode::NOT_FOUND,
                "there are /v1/advise, /v1/events, /v1/families, /v1/top, /v1/why, /v1/why.svg and /v1/status\n",
            )
            .map(Either::Left),
        }
    }

    fn status(&self) -> Response<TextBody> {
        let status = Status {
            v: VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            kernel: self.host.release.to_string(),
            readers: self.feed.readers(),
            missed: self.feed.missed(),
            probes: self.metrics.probes(),
        };
        match serde_json::to_vec(&status) {
            Ok(json) => typed(StatusCode::OK, "application/json", json),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("write the status: {error}\n")),
        }
    }

    /// An answer that may have to wait.
    async fn on_desk<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> T + Send + 'static) -> T {
        let api = self.clone();
        self.desk.run(move || work(&api)).await
    }

    fn top(&self) -> Response<TextBody> {
        let (lost, coalesced) = match self.metrics.losses() {
            Ok(losses) => losses,
            Err(error) => {
                return text(StatusCode::INTERNAL_SERVER_ERROR, format!("read the losses: {error}\n"));
            }
        };
        let kernel = self.host.release.to_string();
        let page_size = self.host.page_size.into();
        let memory = self.metrics.tcp_memory().map(|memory| Memory::new(&memory, page_size));
        let overview = self.answers.overview();
        let top = Top { v: VERSION, time: Timestamp::now(), kernel, memory, lost, coalesced, overview };
        typed(StatusCode::OK, "application/json", json_line(&top))
    }

    async fn advise(&self) -> Response<TextBody> {
        self.answers.walk(Duration::ZERO).await;
        self.on_desk(|api| typed(StatusCode::OK, "application/json", json_line(&api.answers.gathered())))
            .await
    }

    async fn families(&self) -> Response<TextBody> {
        self.answers.walk(Duration::ZERO).await;
        self.on_desk(|api| typed(StatusCode::OK, "application/json", json_line(&api.answers.families())))
            .await
    }

    async fn why(&self, query: &str) -> Response<TextBody> {
        self.report(query, |report| typed(StatusCode::OK, "application/json", json_line(report))).await
    }

    async fn picture(&self, query: &str) -> Response<TextBody> {
        self.report(query, |report| typed(StatusCode::OK, "image/svg+xml", svg::draw(report))).await
    }

    async fn report(&self, query: &str, answer: fn(&WhyReport) -> Response<TextBody>) -> Response<TextBody> {
        let wanted = match Wanted::parse(query) {
            Ok(wanted) => wanted,
            Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        };
        match self.ask(wanted).await {
            Some(report) => answer(&report),
            None => text(StatusCode::NOT_FOUND, NO_MATCH),
        }
    }

    /// A walk shows how the living stand. Whoever asks for the last event alone, and finds it was a death, need
    /// not wait for one: while thousands die, it takes seconds.
    async fn ask(&self, wanted: Wanted) -> Option<WhyReport> {
        if wanted == Wanted::default()
            && let Some(dead) = self.why_now(wanted.clone()).await.filter(|report| !report.alive)
        {
            return Some(dead);
        }
        self.answers.walk(OLD_ENOUGH).await;
        if let Some(report) = self.why_now(wanted.clone()).await {
            return Some(report);
        }
        self.seek(wanted.clone()).await;
        self.why_now(wanted).await
    }

    /// A healthy connection is not remembered: a walk finds it, if the question names one.
    async fn seek(&self, wanted: Wanted) {
        self.on_desk(move |api| api.answers.seek(&wanted)).await;
        self.answers.walk(Duration::ZERO).await;
    }

    async fn why_now(&self, wanted: Wanted) -> Option<WhyReport> {
        self.on_desk(move |api| api.answers.why(&wanted)).await
    }

    fn events(&self, query: &str) -> Response<ApiBody> {
        let query = match Query::parse(query) {
            Ok(query) => query,
            Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")).map(Either::Left),
        };
        let Ok(place) = Arc::clone(&self.streams).try_acquire_owned() else {
            let full = format!("{STREAMS} readers already\n");
            return text(StatusCode::SERVICE_UNAVAILABLE, full).map(Either::Left);
        };
        let mut response = Response::new(Either::Right(self.stream(query, place)));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        response
    }

    fn stream(&self, query: Query, place: OwnedSemaphorePermit) -> Lines {
        let (sender, chunks) = mpsc::channel(CHUNKS);
        let mut stream = Stream {
            reader: self.feed.subscribe_from(query.since),
            filter: query.filter,
            hz: self.host.hz,
            stop: self.stop.clone(),
            sender,
        };
        tokio::spawn(async move {
            stream.run().await;
            drop(place);
        });
        Lines(chunks)
    }
}

/// One reader of the event stream.
struct Stream {
    reader: Reader,
    filter: Filter,
    hz: u32,
    stop: Stop,
    sender: mpsc::Sender<Bytes>,
}

impl Stream {
    /// Until the agent stops or the reader goes.
    async fn run(&mut self) {
        while let Some(item) = self.next().await {
            let chunk = self.chunk(item);
            if !chunk.is_empty() && self.sender.send(chunk.into()).await.is_err() {
                break;
            }
        }
    }

    async fn next(&mut self) -> Option<FeedItem> {
        // At the end the feed is silent already: what it still holds goes out first.
        tokio::select! {
            biased;
            item = self.reader.next() => item,
            () = self.sender.closed() => None,
            () = self.stop.requested() => None,
        }
    }

    /// What is there already goes out in one piece.
    fn chunk(&mut self, first: FeedItem) -> String {
        let mut chunk = String::new();
        self.append(first, &mut chunk);
        for _ in 1..CHUNK_EVENTS {
            if chunk.len() >= CHUNK_BYTES {
                break;
            }
            let Some(item) = self.reader.try_next() else { break };
            self.append(item, &mut chunk);
        }
        chunk
    }

    fn append(&self, item: FeedItem, chunk: &mut String) {
        if let Some(line) = select(item, &self.filter, self.hz) {
            *chunk += &line.to_json();
        }
    }
}

/// The item that a reader with `filter` gets. What was missed was never looked at: its number passes unfiltered.
pub fn select(item: FeedItem, filter: &Filter, hz: u32) -> Option<Item> {
    match item {
        FeedItem::Event(observed) => filter.matches(&observed).then(|| Line::new(&observed, hz).into()),
        FeedItem::Diagnosis(diagnosed) => {
            filter.wants_diagnosis(&diagnosed).then(|| Diagnosis::new(&diagnosed).into())
        }
        FeedItem::Gap(gap) => filter.wants_gap(&gap).then(|| Item::Gap(Box::new((*gap).clone()))),
        FeedItem::Missed(count) => Some(Item::missed(count)),
    }
}

/// Body of a stream.
#[derive(Debug)]
pub(super) struct Lines(mpsc::Receiver<Bytes>);

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}
