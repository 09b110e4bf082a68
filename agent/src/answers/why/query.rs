//! Which connection is meant.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use agent_correlate::observed::ConnectionId;
use agent_correlate::query::Selector;

use crate::filter::place::{Where, Wheres};

/// Conditions that must all hold; none wants the connection with the last event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// On the connection.
    pub conditions: Vec<Selector>,
    /// On where it lives.
    pub place: Wheres,
}

/// A query that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhyError {
    /// The value does not fit the parameter.
    #[error("{parameter}={value:?}: {problem}")]
    Value {
        /// Its name.
        parameter: String,
        /// What was given.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No parameter of that name.
    #[error(
        "{0:?} is no parameter; there are end, address, port, id, shared_id, pid, comm, netns, namespace, pod, container, \
        workload, selector and last"
    )]
    Parameter(String),
}

impl Wanted {
    /// Reads a query string, `end=198.51.100.1:443&pid=812`.
    pub fn parse(query: &str) -> Result<Self, WhyError> {
        let mut wanted = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match Where::parse(&name, &value) {
                Some(place) => wanted.place.0.push(place.map_err(|error| wrong(&name, &value, &error))?),
                None => wanted.conditions.extend(selector(&name, &value)?),
            }
        }
        Ok(wanted)
    }

    /// The query string that [`Self::parse`] reads back.
    pub fn to_query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.conditions.iter().map(pair));
        query.extend_pairs(self.place.0.iter().map(|one| (one.parameter(), one.to_string())));
        query.finish()
    }
}

fn pair(selector: &Selector) -> (&'static str, String) {
    match selector {
        Selector::Id(id) => ("id", id.to_string()),
        Selector::Shared(id) => ("shared_id", id.to_string()),
        Selector::End(end) => ("end", end.to_string()),
        Selector::Address(address) => ("address", address.to_string()),
        Selector::Port(port) => ("port", port.to_string()),
        Selector::Netns(netns) => ("netns", netns.to_string()),
        Selector::Pid(pid) => ("pid", pid.to_string()),
        Selector::Comm(comm) => ("comm", comm.to_string()),
    }
}

fn selector(name: &str, value: &str) -> Result<Option<Selector>, WhyError> {
    let selector = match name {
        "shared_id" => Selector::Shared(read(name, value)?),
        "end" => Selector::End(read::<SocketAddr>(name, value)?),
        "address" => Selector::Address(read::<IpAddr>(name, value)?.to_canonical()),
        "port" => Selector::Port(read(name, value)?),
        "netns" => Selector::Netns(read(name, value)?),
        "pid" => Selector::Pid(read(name, value)?),
        "comm" => Selector::Comm(value.into()),
        "id" => {
            let id = u64::from_str_radix(value.trim_start_matches("0x"), 16);
            Selector::Id(ConnectionId(id.map_err(|error| wrong(name, value, &error))?))
        }
        "last" => return Ok(None),
        other => return Err(WhyError::Parameter(other.to_owned())),
    };
    Ok(Some(selector))
}

fn read<T: FromStr<Err: ToString>>(parameter: &str, value: &str) -> Result<T, WhyError> {
    value.parse().map_err(|error| wrong(parameter, value, &error))
}

fn wrong(parameter: &str, value: &str, problem: &impl ToString) -> WhyError {
    let (parameter, value) = (parameter.to_owned(), value.to_owned());
    WhyError::Value { parameter, value, problem: problem.to_string() }
}
