//! One accept loop for all listeners: bounded in connections and in time, ended on request.

mod slots;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::slots::{Answer, Answering, Slot, Slots};

/// What a request's head may take; more is answered with 431.
const HEAD_BYTES: usize = 16 << 10;
/// After a failed accept (no descriptors, most likely) others need time to close theirs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a response under way may still take once the agent stops.
const GRACE: Duration = Duration::from_secs(2);

/// What hyper takes for the error of a body; ours have none.
type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at once. Who comes when all slots are taken gets that of the connection that has been
    /// without a request for longest, or waits.
    pub(super) connections: usize,
    /// From the end of one request to the end of the next one's head, idle time included.
    pub(super) head: Duration,
    /// Of a connection in all: ends who reads its response too slowly.
    pub(super) life: Option<Duration>,
}

impl Limits {
    /// The most [`Self::connections`] of any listener.
    pub(super) const MOST_CLIENTS: usize = 64;

    /// The same with no more than `connections`.
    pub(super) fn within(self, connections: usize) -> Self {
        Self { connections: self.connections.min(connections), ..self }
    }
}

/// Both kinds of listener.
pub(super) trait Accept: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection. Safe to cancel.
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accept for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn next(&self) -> io::Result<Self::Stream> {
        Ok(self.accept().await?.0)
    }
}

impl Accept for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn next(&self) -> io::Result<Self::Stream> {
        Ok(self.accept().await?.0)
    }
}

/// Becomes true, once, for all who hold a clone.
#[derive(Clone, Debug)]
pub(super) struct Stop(watch::Receiver<bool>);

impl Stop {
    pub(super) fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Waits for the request to stop, or for the requester's end.
    pub(super) async fn requested(&mut self) {
        // An error means that nobody is left to ask: that too is the end.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// Serves `listener` until `stop`.
pub(super) async fn serve<A, H, F, B>(listener: A, limits: Limits, handle: H, mut stop: Stop)
where
    A: Accept,
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BodyError>> + Send + Unpin + 'static,
{
    let mut slots = Slots::new(limits.connections);
    let mut connections = JoinSet::new();
    loop {
        let (stream, slot) = tokio::select! {
            () = stop.requested() => break,
            next = next(&listener, &mut slots) => next,
        };
        while connections.try_join_next().is_some() {}
        connections.spawn(connection(stream, slot, limits, handle.clone(), stop.clone()));
    }
    drop(listener);
    // Whoever does not end within the grace ends with the set.
    let _ = tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

async fn next<A: Accept>(listener: &A, slots: &mut Slots) -> (A::Stream, Arc<Slot>) {
    loop {
        match listener.next().await {
            Ok(stream) => return (stream, slots.take().await),
            Err(error) => log::warn!("accept a connection: {error}"),
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

async fn connection<S, H, F, B>(stream: S, slot: Arc<Slot>, limits: Limits, handle: H, mut stop: Stop)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes, Error: Into<BodyError>> + Unpin + 'static,
{
    let service = service_fn(|request| {
        let (response, answer) = (handle(request), Answer::new(&slot));
        async { Ok::<_, Infallible>(response.await.map(|body| Answering { body, _answer: answer })) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(HEAD_BYTES);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stop.requested() => None,
        // hyper would wait for the rest of its head.
        () = slot.wanted.notified() => if slot.was_asked() { None } else { return },
        () = lifetime(limits.life) => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        connection.as_mut().graceful_shutdown();
        tokio::time::timeout(GRACE, connection).await.unwrap_or(Ok(()))
    };
    if let Err(error) = ended {
        log::debug!("serve a connection: {:#}", anyhow::Error::from(error));
    }
}

async fn lifetime(life: Option<Duration>) {
    match life {
        Some(life) => tokio::time::sleep(life).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http_body_util::Full;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(50);

    /// Answers everything with `ok` until the sender goes.
    async fn start(limits: Limits) -> (SocketAddr, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, stop) = Stop::new();
        let ok = |_: Request<Incoming>| async { Response::new(Full::from("ok")) };
        tokio::spawn(serve(listener, limits, ok, stop));
        (address, sender)
    }

    /// Sends `bytes` and reads until the other end closes.
    async fn talk(address: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset ends it as well.
        let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the connection stays open");
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn half_a_head_and_an_idle_connection_end() {
        let (address, _sender) = start(Limits { connections: 4, head: SHORT, life: None }).await;
        assert_eq!(talk(address, b"GET / HTTP/1.1\r\nHost").await, "");
        assert!(talk(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.ends_with("ok"));
    }

    #[tokio::test]
    async fn a_connection_has_a_life() {
        let (address, _sender) = start(Limits { connections: 4, head: SOON, life: Some(SHORT) }).await;
        assert!(talk(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.ends_with("ok"));
    }

    #[tokio::test]
    async fn who_asks_for_nothing_gives_way() {
        let (address, _sender) = start(Limits { connections: 2, head: SOON, life: Some(SHORT) }).await;
        let mut silent = Vec::new();
        for _ in 0..20 {
            let mut half = TcpStream::connect(address).await.unwrap();
            half.write_all(b"GET / HT").await.unwrap();
            silent.push(half);
        }
        assert!(talk(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.ends_with("ok"));
    }

    /// Its only slot is taken by an answer that nobody reads.
    #[tokio::test]
    async fn who_is_answered_keeps_its_place() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_sender, stop) = Stop::new();
        let endless = |_: Request<Incoming>| async { Response::new(Full::from(vec![b'x'; 64 << 20])) };
        tokio::spawn(serve(listener, Limits { connections: 1, head: SOON, life: None }, endless, stop));
        let mut reader = TcpStream::connect(address).await.unwrap();
        reader.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        reader.readable().await.unwrap();
        let _waits = TcpStream::connect(address).await.unwrap();
        let mut got = vec![0; 32 << 20];
        timeout(SOON, reader.read_exact(&mut got)).await.expect("the answer stops").unwrap();
    }

    #[tokio::test]
    async fn garbage_and_endless_heads_are_refused() {
        let (address, _sender) = start(Limits { connections: 4, head: SOON, life: None }).await;
        assert!(talk(address, b"\x16\x03\x01\x00\r\n\r\n").await.starts_with("HTTP/1.1 400"));
        let endless = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(HEAD_BYTES));
        assert!(talk(address, endless.as_bytes()).await.starts_with("HTTP/1.1 431"));
    }
}
