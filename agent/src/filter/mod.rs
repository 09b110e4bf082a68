//! Which events a reader wants. Values of one parameter are alternatives; all parameters must hold.

pub mod place;
pub mod query;
pub mod selector;

use std::net::IpAddr;
use std::str::FromStr;

use agent_correlate::observed::Observed;
use agent_diagnose::Diagnosed;
use agent_model::cause::Cause;
use agent_model::event::{Detail, KernelEvent, RetransmitKind, TcpState};
use agent_model::signals::StateChanged;
use agent_model::words::{self, EventWord, NoSuchWord};
use ipnet::IpNet;

use crate::filter::place::{Where, Wheres};
use crate::schema::{Gap, GapWord};

/// Bytes of a name that the kernel keeps.
const COMM_BYTES: usize = agent_common::COMM_LEN - 1;

/// What is wanted; an empty list wants all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Inodes of network namespaces.
    pub netns: Vec<u32>,
    /// Networks of which either end must be one.
    pub address: Vec<Network>,
    /// Ports of which either end must have one.
    pub port: Vec<u16>,
    /// Processes that own the socket or worked on it.
    pub pid: Vec<u32>,
    /// Names of such processes.
    pub comm: Vec<String>,
    /// Kinds of retransmission; nothing else has one.
    pub kind: Vec<Kind>,
    /// What happened.
    pub event: Vec<EventWord>,
    /// Causes of diagnoses; no event has one.
    pub cause: Vec<Cause>,
    /// Where the socket lives.
    pub place: Wheres,
    /// Events, diagnoses, or both.
    pub show: Show,
    /// Without listeners that open or close.
    pub no_listeners: bool,
}

/// Which of the two sorts of lines is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Show {
    /// Both.
    #[default]
    All,
    /// Events alone.
    Events,
    /// Diagnoses alone.
    Diagnoses,
}

/// Not a sort of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of all, events, diagnoses")]
pub struct NoShow;

impl Show {
    fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Events => "events",
            Self::Diagnoses => "diagnoses",
        }
    }
}

impl FromStr for Show {
    type Err = NoShow;

    fn from_str(text: &str) -> Result<Self, NoShow> {
        let all = [Self::All, Self::Events, Self::Diagnoses];
        all.into_iter().find(|show| show.as_str() == text).ok_or(NoShow)
    }
}

/// An address or a network: `198.51.100.7`, `198.51.100.0/24`, `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub IpNet);

/// Word of a retransmission kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(pub RetransmitKind);

/// A query that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The value does not fit the parameter.
    #[error("{parameter}={value:?}: {problem}")]
    Value {
        /// Name of the parameter, the same as the flag's.
        parameter: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No parameter of that name.
    #[error(
        "{0:?} is no parameter; there are netns, address, port, pid, comm, kind, event, cause, namespace, \
         pod, container, workload, selector, show, listeners and since"
    )]
    Parameter(String),
}

/// Not an address or network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an IP address or a network like 198.51.100.0/24")]
pub struct NoNetwork;

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let address = text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
        address.or_else(|_| text.parse()).map(Self).map_err(|_| NoNetwork)
    }
}

impl FromStr for Kind {
    type Err = NoSuchWord;

    fn from_str(text: &str) -> Result<Self, NoSuchWord> {
        words::parse_kind(text).map(Self)
    }
}

impl Filter {
    /// Reads a query string, `port=80&port=443&address=198.51.100.0/24`.
    pub fn parse(query: &str) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            filter.add(&name, &value)?;
        }
        Ok(filter)
    }

    pub(super) fn add(&mut self, name: &str, value: &str) -> Result<(), FilterError> {
        match name {
            "netns" => self.netns.push(number("netns", value)?),
            "address" => self.address.push(read("address", value)?),
            "port" => self.port.push(number("port", value)?),
            "pid" => self.pid.push(number("pid", value)?),
            "comm" => self.comm.push(value.to_owned()),
            "kind" => self.kind.push(read("kind", value)?),
            "event" => self.event.push(read("event", value)?),
            "cause" => self.cause.push(read("cause", value)?),
            "show" => self.show = read("show", value)?,
            "listeners" => self.no_listeners = !read::<bool>("listeners", value)?,
            other => self.place.0.push(place(other, value)?),
        }
        Ok(())
    }

    /// The query string that [`Self::parse`] reads back.
    pub fn to_query(&self) -> String {
        let Self { netns, address, port, pid, comm, kind, event, cause, place, show, no_listeners } = self;
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(netns.iter().map(|netns| ("netns", netns.to_string())));
        query.extend_pairs(address.iter().map(|network| ("address", network.0.to_string())));
        query.extend_pairs(port.iter().map(|port| ("port", port.to_string())));
        query.extend_pairs(pid.iter().map(|pid| ("pid", pid.to_string())));
        query.extend_pairs(comm.iter().map(|comm| ("comm", comm)));
        query.extend_pairs(kind.iter().map(|kind| ("kind", words::kind(kind.0))));
        query.extend_pairs(event.iter().map(|event| ("event", event.as_str())));
        query.extend_pairs(cause.iter().map(|cause| ("cause", cause.as_str())));
        query.extend_pairs(place.0.iter().map(|one| (one.parameter(), one.to_string())));
        query.extend_pairs((*show != Show::All).then(|| ("show", show.as_str())));
        query.extend_pairs(no_listeners.then_some(("listeners", "false")));
        query.finish()
    }

    /// Whether the reader wants this event.
    pub fn matches(&self, observed: &Observed) -> bool {
        let Self { netns, address, port, pid, comm, kind, event, cause, place, show, no_listeners } = self;
        let ends = [observed.event.endpoint.local, observed.event.endpoint.remote];
        *show != Show::Diagnoses
            && !(*no_listeners && is_of_listener(&observed.event))
            && cause.is_empty()
            && place.matches(&observed.place)
            && wants(netns, |&netns| netns == observed.event.endpoint.netns)
            && wants(address, |network| ends.iter().any(|end| network.0.contains(&end.ip())))
            && wants(port, |&port| ends.iter().any(|end| end.port() == port))
            && wants(event, |&word| word == EventWord::of(&observed.event.detail))
            && wants(kind, |kind| Some(kind.0) == observed.event.signal().kind())
            && wants(pid, |&pid| processes(observed).any(|process| process.pid == pid))
            && wants(comm, |name| processes(observed).any(|process| *process.comm == *cut(name)))
    }
}

impl Filter {
    /// Whether the reader wants this diagnosis: a filter by events or kinds selects events alone.
    pub fn wants_diagnosis(&self, diagnosed: &Diagnosed) -> bool {
        let Self { netns, address, port, pid, comm, kind, event, cause, place, show, no_listeners: _ } = self;
        let ends = [diagnosed.local, diagnosed.remote];
        let processes = || diagnosed.owner.iter().map(|owner| &owner.process).chain(&diagnosed.ended_by);
        *show != Show::Events
            && event.is_empty()
            && kind.is_empty()
            && place.matches(&diagnosed.place)
            && wants(netns, |&netns| netns == diagnosed.netns)
            && wants(address, |network| ends.iter().any(|end| network.0.contains(&end.ip())))
            && wants(port, |&port| ends.iter().any(|end| end.port() == port))
            && wants(cause, |&cause| cause == diagnosed.diagnosis.cause)
            && wants(pid, |&pid| processes().any(|process| process.pid == pid))
            && wants(comm, |name| processes().any(|process| *process.comm == *cut(name)))
    }
}

impl Filter {
    /// Whether the reader wants lines about events without a line: the filter might have taken those events.
    pub fn wants_gap(&self, gap: &Gap) -> bool {
        let Self { netns, event, show, .. } = self;
        (*show != Show::Diagnoses || gap.event == GapWord::Lost)
            && wants(event, |word| word.as_str() == gap.signal)
            && wants(netns, |netns| gap.netns.as_ref().is_none_or(|gap| gap == netns))
    }
}

fn wants<T>(wanted: &[T], holds: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(holds)
}

/// Whether a listener opens or closes.
fn is_of_listener(event: &KernelEvent) -> bool {
    let Detail::StateChanged(StateChanged { old, new, .. }) = event.detail else { return false };
    [old, new].contains(&TcpState::Listen)
}

fn processes(observed: &Observed) -> impl Iterator<Item = &agent_model::event::Process> {
    let owner = observed.owner.iter().map(|owner| &owner.process);
    owner.chain(observed.event.current.iter().map(|thread| &thread.process))
}

/// A name as the kernel would have cut it.
pub fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(COMM_BYTES)]
}

fn place(name: &str, value: &str) -> Result<Where, FilterError> {
    let read = Where::parse(name, value).ok_or_else(|| FilterError::Parameter(name.to_owned()))?;
    let (parameter, value) = ("selector", value.to_owned());
    read.map_err(|error| FilterError::Value { parameter, value, problem: error.to_string() })
}

fn number<T: FromStr<Err = std::num::ParseIntError>>(
    parameter: &'static str,
    value: &str,
) -> Result<T, FilterError> {
    read(parameter, value)
}

fn read<T: FromStr<Err: ToString>>(parameter: &'static str, value: &str) -> Result<T, FilterError> {
    let wrong =
        |error: T::Err| FilterError::Value { parameter, value: value.to_owned(), problem: error.to_string() };
    value.parse().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schema::sample;

    /// Which of the samples pass.
    fn passing(query: &str) -> Vec<EventWord> {
        let filter = Filter::parse(query).unwrap();
        let events = sample::all().into_iter().filter(|observed| filter.matches(observed));
        events.map(|observed| EventWord::of(&observed.event.detail)).collect()
    }

    #[test]
    fn no_filter_wants_all() {
        assert_eq!(passing("").len(), sample::all().len());
        assert_eq!(passing("netns=4026531840").len(), sample::all().len());
        assert_eq!(passing("netns=1").len(), 0);
    }

    #[test]
    fn either_end_counts() {
        use EventWord as E;
        assert_eq!(passing("port=81"), [E::ResetSent, E::ResetReceived]);
        assert_eq!(passing("address=2001:db8::/32"), [E::ResetSent]);
        assert_eq!(
            passing("address=203.0.113.9"),
            [E::SynackRetransmit, E::BufLimitExceeded, E::PacketDropped]
        );
        assert_eq!(passing("address=203.0.113.9&event=buf_limit_exceeded"), [E::BufLimitExceeded]);
    }

    #[test]
    fn alternatives_and_kinds() {
        use EventWord as E;
        assert_eq!(passing("kind=timeout&kind=synack"), [E::Retransmit, E::SynackRetransmit]);
        assert_eq!(passing("pid=812"), [E::ResetSent]);
        assert_eq!(passing("comm=curl&comm=nc"), [E::Retransmit, E::ResetReceived]);
    }

    #[test]
    fn places_in_the_cluster() {
        use EventWord as E;
        assert_eq!(passing("namespace=shop&container=nginx"), [E::ResetSent, E::ResetSent]);
        assert_eq!(passing("selector=app%3Dweb&port=8080"), [E::ResetSent]);
        assert_eq!(passing("workload=statefulset/web"), []);
        let diagnosed = sample::diagnosed();
        assert!(Filter::parse("pod=shop/web-7d9f4c-x2v5p").unwrap().wants_diagnosis(&diagnosed));
        assert!(!Filter::parse("namespace=blog").unwrap().wants_diagnosis(&diagnosed));
    }

    #[test]
    fn a_long_name_matches_as_the_kernel_cut_it() {
        let mut observed = sample::timeout();
        observed.owner.as_mut().unwrap().process.comm = "systemd-resolve".into();
        assert!(Filter::parse("comm=systemd-resolved").unwrap().matches(&observed));
        assert!(!Filter::parse("comm=systemd").unwrap().matches(&observed));
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        let filter = Filter::parse("address=%3A%3Affff%3A198.51.100.1").unwrap();
        assert!(filter.matches(&sample::timeout()));
    }

    #[test]
    fn errors_name_parameter_and_value() {
        let error = |query: &str| Filter::parse(query).unwrap_err().to_string();
        assert_eq!(error("port=70000"), "port=\"70000\": number too large to fit in target type");
        assert_eq!(
            error("address=10.0.0.0/33"),
            "address=\"10.0.0.0/33\": not an IP address or a network like 198.51.100.0/24"
        );
        assert!(error("event=resets").starts_with("event=\"resets\": not one of retransmit, "));
        assert!(error("pods=x").starts_with("\"pods\" is no parameter"));
        assert!(error("selector=a%20b").starts_with("selector=\"a b\": "));
    }

    proptest! {
        #[test]
        fn no_query_panics(query in any::<String>()) {
            if let Ok(filter) = Filter::parse(&query) {
                filter.matches(&sample::timeout());
            }
        }

        #[test]
        fn a_query_reads_back(port in any::<u16>(), comm in any::<String>(), pod in any::<String>(),
            address in any::<IpAddr>()) {
            let filter = Filter {
                port: vec![port],
                comm: vec![comm],
                address: vec![Network(address.to_canonical().into())],
                kind: vec![Kind(RetransmitKind::TailLossProbe)],
                event: EventWord::ALL.to_vec(),
                place: Wheres(vec![Where::Pod(pod), Where::Labels("a=b,c in (d)".parse().unwrap())]),
                ..Filter::default()
            };
            prop_assert_eq!(Filter::parse(&filter.to_query()), Ok(filter.clone()));
            filter.matches(&sample::timeout());
        }
    }
}
