//! Both listeners: bound before anything is attached, so that a busy port or a second agent ends the
//! program at once; served once there is something to show.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use agent_model::event::HostFacts;
use hyper::Request;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::api::{self, Api};
use super::feed::Feed;
use super::http::{self, Web};
use super::listener::{self, Stop};
use super::page;
use super::room;
use super::socket::{Socket, SocketError, SocketFile};
use crate::answers::why::Answers;
use crate::metrics::Metrics;

/// A listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program is there.
    #[error("listen on {0}: another program uses this port, choose another with --listen (port 0: any)")]
    PortTaken(SocketAddr),
    /// The system refused.
    #[error("listen on {address}, see --listen")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The page's.
    #[error("listen on {address} for the page, see --page")]
    Page {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The unix socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
}

/// Listeners that do not answer yet.
#[derive(Debug)]
pub struct Bound {
    tcp: TcpListener,
    address: SocketAddr,
    socket: Socket,
    page: Option<TcpListener>,
}

/// Listeners that answer.
#[derive(Debug)]
pub struct Servers {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    _socket_file: SocketFile,
}

/// What they answer from.
#[derive(Clone)]
pub struct Services {
    /// For `/metrics`, `/readyz` and `/v1/status`.
    pub metrics: Arc<Metrics>,
    /// For `/v1/events`.
    pub feed: Feed,
    /// For the lines.
    pub host: Arc<HostFacts>,
    /// For `/v1/why`.
    pub answers: Arc<dyn Answers>,
}

impl Bound {
    /// Opens both. The socket first: of two agents the second fails for the first's socket, not for its port.
    pub async fn bind(listen: SocketAddr, socket: &Path) -> Result<Self, BindError> {
        let socket = Socket::bind(socket).await?;
        let failed = |source| BindError::Listen { address: listen, source };
        let is_taken = |source: &io::Error| source.kind() == io::ErrorKind::AddrInUse;
        let tcp = TcpListener::bind(listen).await.map_err(|source| {
            if is_taken(&source) { BindError::PortTaken(listen) } else { failed(source) }
        })?;
        let address = tcp.local_addr().map_err(failed)?;
        Ok(Self { tcp, address, socket, page: None })
    }

    /// Opens a listener for the live page as well.
    pub async fn with_page(self, address: SocketAddr) -> Result<Self, BindError> {
        let page = TcpListener::bind(address).await.map_err(|source| BindError::Page { address, source })?;
        Ok(Self { page: Some(page), ..self })
    }

    /// Starts to answer, and says where the metrics are.
    pub fn serve(self, services: &Services) -> Servers {
        let Self { tcp, address, socket, page } = self;
        let (sender, stop) = Stop::new();
        let (web, api) = (Web::new(Arc::clone(&services.metrics)), Api::new(services.clone(), stop.clone()));
        let page_api = api.clone();
        let web = move |request: Request<Incoming>| web.clone().handle(request);
        let query = move |request: Request<Incoming>| api.clone().handle(request);
        let clients = room::clients(2 + u64::from(page.is_some()));
        let mut tasks = JoinSet::new();
        tasks.spawn(listener::serve(tcp, http::LIMITS.within(clients), web, stop.clone()));
        tasks.spawn(listener::serve(socket.listener, api::LIMITS.within(clients), query, stop.clone()));
        if let Some(listener) = page {
            let page = move |request: Request<Incoming>| page::handle(page_api.clone(), request);
            if let Ok(address) = listener.local_addr() {
                log::info!("page http://{address}/, for every user of this host");
            }
            tasks.spawn(listener::serve(listener, api::LIMITS.within(clients), page, stop));
        }
        log::info!("metrics http://{address}/metrics");
        Servers { address, stop: sender, tasks, _socket_file: socket.file }
    }
}

impl Servers {
    /// Where the metrics are.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends streams and connections, and removes the socket file.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests;
