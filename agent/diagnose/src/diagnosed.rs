//! The name that a diagnosis goes by.

use std::net::SocketAddr;

use agent_correlate::Correlator;
use agent_correlate::connection::Connection;
use agent_correlate::observed::Observed;
use agent_correlate::place::Place;
use agent_correlate::shared::{Initials, SharedId};
use agent_model::event::{Endpoint, Owner, Process};

use crate::Diagnosis;

/// A diagnosis, with what a line about it needs to name the connection.
#[derive(Clone, Debug)]
pub struct Diagnosed {
    /// Why.
    pub diagnosis: Diagnosis,
    /// Wall clock then, ns since 1970 UTC.
    pub realtime: i64,
    /// What both hosts call the connection.
    pub shared: Option<SharedId>,
    /// Inode of the network namespace.
    pub netns: u32,
    /// This host's side.
    pub local: SocketAddr,
    /// The peer.
    pub remote: SocketAddr,
    /// The best known owner.
    pub owner: Option<Owner>,
    /// Who ended the connection.
    pub ended_by: Option<Process>,
    /// Where the socket lives.
    pub place: Place,
}

impl Diagnosed {
    /// Names the connection of a diagnosis; the event does if there is none.
    pub fn new(correlator: &Correlator, diagnosis: Diagnosis, observed: Option<&Observed>) -> Option<Self> {
        let realtime = correlator.realtime(diagnosis.time);
        match diagnosis.connection.and_then(|id| correlator.connection_by_id(id)) {
            Some(connection) => Some(Self::by_connection(correlator, diagnosis, realtime, connection)),
            None => observed.map(|observed| Self::by_event(diagnosis, realtime, observed)),
        }
    }

    fn by_connection(
        correlator: &Correlator,
        diagnosis: Diagnosis,
        realtime: i64,
        connection: &Connection,
    ) -> Self {
        let Connection { identity, initials, owner, ended_by, .. } = connection;
        Self {
            diagnosis,
            realtime,
            shared: initials.map(Initials::id),
            netns: identity.netns,
            local: identity.local(),
            remote: identity.remote(),
            owner: owner.as_deref().cloned(),
            ended_by: ended_by.as_deref().cloned(),
            place: correlator.place(connection),
        }
    }

    fn by_event(diagnosis: Diagnosis, realtime: i64, observed: &Observed) -> Self {
        let Observed { event, owner, place, .. } = observed;
        let Endpoint { netns, local, remote, .. } = event.endpoint;
        let (owner, place) = (owner.clone(), place.clone());
        Self { diagnosis, realtime, shared: None, netns, local, remote, owner, ended_by: None, place }
    }
}
