//! Identity of a connection: the best of what its events had, packed, since there are 50,000 of these.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;

use agent_model::event::Endpoint;

/// Identity of a connection. Events before `connect()` and after `close()` lack ports or addresses; what
/// was known once is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Address of its `struct sock`; `None` if only packets of it were seen.
    pub sk: Option<NonZero<u64>>,
    /// cgroup v2 id.
    pub cgroup: Option<NonZero<u64>>,
    /// Inode of its network namespace.
    pub netns: u32,
    /// Owner's user id.
    pub uid: Option<u32>,
    /// An IPv6 socket that talks IPv4.
    pub mapped: bool,
    local: End,
    remote: End,
}

/// 20 bytes; a `SocketAddr` has 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    ip: IpAddr,
    port: u16,
}

impl Identity {
    pub(super) fn new(seen: &Endpoint) -> Self {
        Self {
            sk: seen.sk.and_then(NonZero::new),
            cgroup: seen.cgroup.and_then(NonZero::new),
            netns: seen.netns,
            uid: seen.uid,
            mapped: seen.mapped,
            local: End::new(seen.local),
            remote: End::new(seen.remote),
        }
    }

    /// This host's side.
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local.ip, self.local.port)
    }

    /// The peer.
    pub fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.remote.ip, self.remote.port)
    }

    /// Takes over what an event knows better.
    pub(super) fn improve(&mut self, seen: &Endpoint) {
        self.mapped |= seen.mapped;
        self.cgroup = self.cgroup.or(seen.cgroup.and_then(NonZero::new));
        self.uid = self.uid.or(seen.uid);
        self.local.improve(seen.local);
        self.remote.improve(seen.remote);
    }
}

impl End {
    fn new(seen: SocketAddr) -> Self {
        Self { ip: seen.ip(), port: seen.port() }
    }

    fn improve(&mut self, seen: SocketAddr) {
        if seen.port() != 0 {
            self.port = seen.port();
        }
        if !seen.ip().is_unspecified() {
            self.ip = seen.ip();
        }
    }
}
