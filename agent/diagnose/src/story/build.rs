//! Makes the story of a connection from all that is remembered.

use std::cell::OnceCell;

use agent_correlate::Correlator;
use agent_correlate::connection::Connection;
use agent_correlate::families::ProcessFamily;
use agent_correlate::listeners::Listening;
use agent_correlate::observed::Observed;
use agent_correlate::strays::Stray;
use agent_model::event::{Detail, TcpState};
use agent_model::timers::{self, Era, Facts, Outlook};

use super::{Astray, Relatives, Sight, Story};
use crate::{Phase, forecast};

impl<'a> Story<'a> {
    /// The story of a connection.
    pub fn of(correlator: &'a Correlator, connection: &'a Connection, phase: Phase) -> Self {
        Self {
            phase,
            time: connection.died().unwrap_or(connection.last),
            looked: false,
            connection: Some(connection),
            peer: correlator.other_end(connection),
            stray: None,
            failed_before: failed_before(correlator, connection),
            astray: astray_of(correlator, connection),
            listening: correlator.listening_for(connection),
            listeners_there: if connection.live_state == Some(TcpState::SynSent) {
                correlator.listeners_there(connection)
            } else {
                Vec::new()
            },
            host: correlator.host(),
            settings: correlator.settings(),
            stack: correlator.stack(connection.reset_stack.map(i32::from)),
            stacks: correlator.stacks(),
            tells_drops: correlator.tells_drops_since(connection.first),
            known_cause: connection.verdict,
            outlook: None,
            memory: correlator.tcp_memory(),
            family: correlator.family_of(connection).map(|family| relatives(correlator, family)),
            families: correlator.families(),
            orphans: correlator.orphans(),
            cgroup: connection.memory_cgroup.and_then(|cgroup| correlator.cgroup_memory(cgroup.get())),
            tcp: OnceCell::new(),
            entries: OnceCell::new(),
        }
    }

    /// Of a stall whose numbers were read at `sight`: what comes if the peer stays silent.
    #[must_use]
    pub fn at(mut self, sight: Sight) -> Self {
        self.time = sight.time;
        self.outlook = self.foresee(sight);
        self
    }

    /// `None` where nothing can be said.
    fn foresee(&self, sight: Sight) -> Option<Outlook> {
        let (connection, tcp, hz) = (self.connection?, self.tcp()?, self.host.hz);
        let facts = Facts {
            time: sight.time,
            hz,
            state: connection.state?,
            moment: sight.moment,
            era: Era::default(),
            lrcvtime: tcp.lrcvtime(),
            tcp,
        };
        (hz > 0 && connection.is_live()).then(|| timers::outlook(&facts))
    }

    /// The story of an event without a connection.
    pub fn of_stray(correlator: &'a Correlator, observed: &'a Observed) -> Self {
        let time = observed.event.time;
        Self {
            phase: if observed.stage.is_some() || is_drop(observed) { Phase::Stalled } else { Phase::Died },
            time,
            looked: false,
            connection: None,
            peer: correlator.sender(&observed.event.endpoint, time),
            stray: Some(observed),
            failed_before: None,
            astray: Stray::of(observed).map(|stray| {
                let sender = correlator.sender(&observed.event.endpoint, time);
                astray(correlator, stray, sender)
            }),
            listening: observed.listener.clone(),
            listeners_there: Vec::new(),
            host: correlator.host(),
            settings: correlator.settings(),
            stack: observed.stack.clone(),
            stacks: correlator.stacks(),
            tells_drops: false,
            known_cause: None,
            outlook: observed.outlook,
            memory: correlator.tcp_memory(),
            family: family_listening(correlator, &observed.listener)
                .map(|family| relatives(correlator, family)),
            families: correlator.families(),
            orphans: correlator.orphans(),
            cgroup: None,
            tcp: OnceCell::new(),
            entries: OnceCell::new(),
        }
    }
}

/// What its process met may be why it closed this one.
fn failed_before<'a>(correlator: &'a Correlator, connection: &'a Connection) -> Option<&'a Connection> {
    let owner = connection.owner.as_ref().map(|owner| &owner.process);
    let process = connection.ended_by.as_deref().or(owner)?;
    correlator.failed_before(process.pid, connection.died()?, connection.id)
}

/// Only of a connection that ended with an error, as one that is reset does.
fn astray_of<'a>(correlator: &'a Correlator, connection: &'a Connection) -> Option<Astray<'a>> {
    let time = connection.died().filter(|_| connection.error != 0)?;
    let stray = correlator.stray_of(connection, time)?.clone();
    Some(astray(correlator, stray, Some(connection)))
}

fn astray<'a>(correlator: &'a Correlator, stray: Stray, sender: Option<&'a Connection>) -> Astray<'a> {
    let (elsewhere, former) = (correlator.elsewhere(&stray), correlator.former(&stray));
    let neighbour = correlator.neighbour(&stray);
    Astray { stray, sender, elsewhere, former, neighbour }
}

/// The client sends again, and waits.
fn is_drop(observed: &Observed) -> bool {
    matches!(observed.event.detail, Detail::PacketDropped(_))
}

fn family_listening<'a>(correlator: &'a Correlator, listening: &Listening) -> Option<&'a ProcessFamily> {
    let owner = listening.somebody()?.owner.as_ref()?;
    correlator.families().of(owner.process.pid)
}

/// The family, and the limits that it would reach.
fn relatives<'a>(correlator: &Correlator, family: &'a ProcessFamily) -> Relatives<'a> {
    Relatives { family, forecast: forecast::of(correlator, family) }
}
