//! What diagnosis gets to see of a connection.

use std::cell::OnceCell;

use super::Correlator;
use super::connection::Connection;
use super::families::Family;
use super::listeners::Listening;
use super::observed::{ConnectionId, Observed};
use super::shared::Initials;
use super::timeline::What;
use crate::diagnose::deadline::Outlook;
use crate::diagnose::forecast::{Forecast, Surroundings, forecast};
use crate::diagnose::story::Relatives;
use crate::diagnose::{Cause, Diagnosis, Phase, Story};
use crate::event::{Detail, Endpoint, Room};
use crate::pipeline::Diagnosed;

/// How far apart the last events of two ends may be, ns: a slowest retransmission.
const SAME_TIME: u64 = super::LATE_SEGMENTS;

impl Correlator {
    /// The story of a connection.
    pub fn story<'a>(
        &'a self,
        connection: &'a Connection,
        phase: Phase,
        outlook: Option<Outlook>,
    ) -> Story<'a> {
        let stack = connection.timeline.entries().iter().rev().find_map(|entry| match entry.what {
            What::ResetSent { stack, .. } => Some(stack),
            _ => None,
        });
        Story {
            phase,
            time: connection.died().unwrap_or(connection.last),
            looked: false,
            connection: Some(connection),
            peer: self.other_end(connection),
            stray: None,
            listening: self.listening_for(connection),
            host: self.host(),
            stack: self.host.stack(stack.flatten().map(i32::from)),
            outlook,
            memory: self.tcp_memory(),
            family: self.family_of(connection).map(|family| self.relatives(family)),
            families: self.families(),
            orphans: &self.orphans,
            cgroup: connection.memory_cgroup.and_then(|cgroup| self.host.cgroup_memory(cgroup.get())),
            tcp: OnceCell::new(),
            entries: OnceCell::new(),
        }
    }

    /// The story of an event without a connection.
    pub fn stray_story<'a>(&'a self, observed: &'a Observed) -> Story<'a> {
        let endpoint = &observed.event.endpoint;
        Story {
            phase: if observed.stage.is_some() || is_drop(observed) { Phase::Stalled } else { Phase::Died },
            time: observed.event.time,
            looked: false,
            connection: None,
            peer: self
                .table
                .by_ends(endpoint.remote, endpoint.local)
                .find(|peer| is_near(peer, observed.event.time)),
            stray: Some(observed),
            listening: observed.listener.clone(),
            host: self.host(),
            stack: observed.stack.clone(),
            outlook: observed.outlook,
            memory: self.tcp_memory(),
            family: self.family_listening(&observed.listener).map(|family| self.relatives(family)),
            families: self.families(),
            orphans: &self.orphans,
            cgroup: None,
            tcp: OnceCell::new(),
            entries: OnceCell::new(),
        }
    }

    fn family_listening(&self, listening: &Listening) -> Option<&Family> {
        let owner = listening.somebody()?.owner.as_ref()?;
        self.families().of(owner.process.pid)
    }

    /// The family, and the limits that it would reach.
    fn relatives<'a>(&self, family: &'a Family) -> Relatives<'a> {
        Relatives { family, forecast: self.forecast(family) }
    }

    /// Limits that a family reaches if it goes on as it does, the first one first.
    pub fn forecast(&self, family: &Family) -> Vec<Forecast> {
        let cgroup = family.cgroups.first().and_then(|(id, _)| self.host.cgroup_memory(*id));
        let around = Surroundings {
            memory: self.tcp_memory(),
            usage: self.host.usage(),
            cgroup: cgroup.and_then(|cgroup| Some(Room { used: cgroup.used, limit: cgroup.limit? })),
            page_size: self.host().page_size,
        };
        forecast(family, &around)
    }

    /// The other end of a connection that lives, or lived until just now, on this host. Loopback addresses
    /// mean each namespace's own.
    pub fn other_end(&self, connection: &Connection) -> Option<&Connection> {
        let identity = &connection.identity;
        let loopback = identity.local().ip().is_loopback();
        let mut others = self.table.by_ends(identity.remote(), identity.local());
        others.find(|peer| {
            peer.id != connection.id
                && is_near(peer, connection.last)
                && (!loopback || peer.identity.netns == identity.netns)
        })
    }

    fn listening_for(&self, connection: &Connection) -> Listening {
        let identity = &connection.identity;
        match self.listeners.on(identity.netns, identity.local()).filter(|_| connection.accepted) {
            Some(listener) => Listening::Somebody(listener.clone()),
            None => Listening::Unknown,
        }
    }

    /// Names the connection of a diagnosis; the event does if there is none.
    pub fn name(&self, diagnosis: Diagnosis, observed: Option<&Observed>) -> Option<Diagnosed> {
        let realtime = self.realtime(diagnosis.time);
        let Some(connection) = diagnosis.connection.and_then(|id| self.connection_by_id(id)) else {
            let Observed { event, owner, place, .. } = observed?;
            let Endpoint { netns, local, remote, .. } = event.endpoint;
            return Some(Diagnosed {
                diagnosis,
                realtime,
                shared: None,
                netns,
                local,
                remote,
                owner: owner.clone(),
                ended_by: None,
                place: place.clone(),
            });
        };
        let Connection { identity, initials, owner, ended_by, .. } = connection;
        let shared = initials.map(Initials::id);
        let (netns, local, remote) = (identity.netns, identity.local(), identity.remote());
        let owner = owner.as_deref().cloned();
        let (ended_by, place) = (ended_by.as_deref().cloned(), self.place(connection));
        Some(Diagnosed { diagnosis, realtime, shared, netns, local, remote, owner, ended_by, place })
    }

    /// Keeps why a connection died.
    pub fn judge(&mut self, id: ConnectionId, cause: Cause) {
        self.table.judge(id, cause);
        if let Some(connection) = self.table.get(id).filter(|_| cause == Cause::TooManyOrphans) {
            self.orphans.add(connection, &self.place(connection));
        }
    }
}

/// The client sends again, and waits.
fn is_drop(observed: &Observed) -> bool {
    matches!(observed.event.detail, Detail::PacketDropped { .. })
}

fn is_near(peer: &Connection, time: u64) -> bool {
    peer.last.abs_diff(time) < SAME_TIME
}
