//! Healthy connections that somebody asks for. They cost nothing and have no entry, until a walk over open files comes
//! by them while the question stands.

use std::mem;

use agent_model::event::{Endpoint, TcpState};
use agent_model::signals::SockHeld;

use super::connection::Connection;
use super::observed::ConnectionId;
use super::query::Selector;
use super::timeline::{Entry, What};
use super::{Correlator, connection};

/// Questions that stand at a time; the oldest gives way.
const QUESTIONS: usize = 16;
/// Connections that one question may bring in: whoever may ask must not fill the table.
const EACH: usize = 16;
/// Connections that are here because of questions, at most.
const BROUGHT: usize = 1024;
/// The walk that goes on while somebody asks may have passed the socket; the next one has not.
const WALKS: u32 = 2;

#[derive(Debug)]
struct Question {
    conditions: Box<[Selector]>,
    room: usize,
    walks: u32,
}

/// The questions, and what they brought in.
#[derive(Debug, Default)]
pub(super) struct Sought {
    questions: Vec<Question>,
    brought: Vec<ConnectionId>,
}

impl Sought {
    /// Takes in the connections that meet `conditions`, if these name any, with the next walk.
    pub(super) fn ask(&mut self, conditions: &[Selector]) {
        if !conditions.iter().any(names_one) {
            return;
        }
        if self.questions.len() >= QUESTIONS {
            self.questions.remove(0);
        }
        self.questions.push(Question { conditions: conditions.into(), room: EACH, walks: WALKS });
    }

    /// Whether somebody asks for what a walk found, which then counts as brought in.
    fn wants(&mut self, held: &SockHeld) -> bool {
        if self.brought.len() >= BROUGHT {
            return false;
        }
        let is_it = |question: &&mut Question| {
            question.room > 0 && question.conditions.iter().all(|one| meets(held, one))
        };
        let question = self.questions.iter_mut().find(is_it).filter(|_| is_open(held.endpoint.state));
        question.map(|question| question.room -= 1).is_some()
    }

    fn end_walk(&mut self) {
        self.questions.iter_mut().for_each(|question| question.walks -= 1);
        self.questions.retain(|question| question.walks > 0);
    }
}

impl Correlator {
    /// Has the next walk over open files take in connections that meet all conditions and are healthy, a few of them.
    /// Conditions that name no end and no process are left alone.
    pub fn seek(&mut self, conditions: &[Selector]) {
        self.sought.ask(conditions);
    }

    /// A healthy socket costs nothing: it gets no entry, unless somebody asks for it.
    pub(super) fn holder_connection(&mut self, held: &SockHeld) -> Option<ConnectionId> {
        let sk = held.endpoint.sk?;
        let known = self.socket(sk, &held.endpoint, held.time);
        let troubled = connection::is_stalled(&held.tcp) && held.endpoint.state != Some(TcpState::Close);
        if known.is_some() || !troubled && !self.sought.wants(held) {
            return known;
        }
        let id = self.table.create(&held.endpoint, held.time);
        if !troubled {
            self.sought.brought.push(id);
        }
        Some(id)
    }

    /// The kernel side remembers nothing of a healthy connection, and tells of its end to nobody: once the walk that
    /// is over did not find it, it is forgotten.
    pub(super) fn end_search(&mut self) {
        self.sought.end_walk();
        for id in mem::take(&mut self.sought.brought) {
            let Some(connection) = self.table.get(id).filter(|known| is_healthy(known)) else { continue };
            if connection.holders.named().is_empty() {
                self.table.leave(id);
            } else {
                self.sought.brought.push(id);
            }
        }
    }
}

/// It lives, and nothing happened to it but that packets were dropped, as they are at every close.
fn is_healthy(connection: &Connection) -> bool {
    let is_drop = |entry: &Entry| matches!(entry.what, What::PacketDropped(_));
    connection.is_live() && !connection.is_stalled() && connection.timeline.entries().iter().all(is_drop)
}

fn is_open(state: Option<TcpState>) -> bool {
    state.is_some_and(|state| !matches!(state, TcpState::Close | TcpState::Listen))
}

/// Not so many that any answer would be a matter of chance.
fn names_one(selector: &Selector) -> bool {
    match selector {
        Selector::End(_)
        | Selector::Address(_)
        | Selector::Port(_)
        | Selector::Pid(_)
        | Selector::Comm(_) => true,
        Selector::Id(_) | Selector::Shared(_) | Selector::Netns(_) => false,
    }
}

fn meets(held: &SockHeld, selector: &Selector) -> bool {
    let Endpoint { local, remote, .. } = &held.endpoint;
    let ends = [local, remote];
    match selector {
        Selector::End(end) => ends.contains(&end),
        Selector::Address(address) => ends.iter().any(|end| end.ip() == *address),
        Selector::Port(port) => ends.iter().any(|end| end.port() == *port),
        // The other end may live in another one of this host.
        Selector::Netns(_) => true,
        Selector::Pid(pid) => held.holder.pid == *pid,
        Selector::Comm(comm) => held.holder.comm == *comm,
        // These have been given to connections that are known.
        Selector::Id(_) | Selector::Shared(_) => false,
    }
}
