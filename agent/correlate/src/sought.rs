//! Healthy connections that somebody asks for. They cost nothing and have no entry, until a walk over open files comes
//! by them while the question stands.

use agent_model::event::{Endpoint, TcpState};
use agent_model::signals::SockHeld;

use super::query::Selector;

/// Questions that stand at a time; the oldest gives way.
const QUESTIONS: usize = 16;
/// Connections that one question may bring in: whoever may ask must not fill the table.
const EACH: usize = 16;
/// The walk that goes on while somebody asks may have passed the socket; the next one has not.
const WALKS: u32 = 2;

#[derive(Debug)]
struct Question {
    conditions: Box<[Selector]>,
    room: usize,
    walks: u32,
}

/// The questions.
#[derive(Debug, Default)]
pub(super) struct Sought(Vec<Question>);

impl Sought {
    /// Takes in the connections that meet `conditions`, if these name any, with the next walk.
    pub(super) fn ask(&mut self, conditions: &[Selector]) {
        if !conditions.iter().any(names_one) {
            return;
        }
        if self.0.len() >= QUESTIONS {
            self.0.remove(0);
        }
        self.0.push(Question { conditions: conditions.into(), room: EACH, walks: WALKS });
    }

    /// Whether somebody asks for what a walk found, which then counts as brought in.
    pub(super) fn wants(&mut self, held: &SockHeld) -> bool {
        let is_it = |question: &&mut Question| {
            question.room > 0 && question.conditions.iter().all(|one| meets(held, one))
        };
        let question = self.0.iter_mut().find(is_it).filter(|_| is_open(held.endpoint.state));
        question.map(|question| question.room -= 1).is_some()
    }

    pub(super) fn end_walk(&mut self) {
        self.0.iter_mut().for_each(|question| question.walks -= 1);
        self.0.retain(|question| question.walks > 0);
    }
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
