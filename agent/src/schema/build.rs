//! From an observed event to its line.

use std::net::IpAddr;

use agent_correlate::observed::Observed;
use agent_model::schema::VERSION;
use agent_model::words::EventWord;
use jiff::Timestamp;

use super::tcp::Jiffies;
use super::{IpVersion, Line, Outlook, Owner, PlaceNames, Settings, Tcp, Thread, Totals};

/// `IPPROTO_TCP`
const TCP: u8 = 6;

impl Line {
    /// The line of `observed`, on a kernel whose jiffies are 1/`hz` s.
    pub fn new(observed: &Observed, hz: u32) -> Self {
        let event = &observed.event;
        let mut line = identity(observed);
        if let Some(tcp) = &event.tcp {
            line.tcp = Some(Box::new(Tcp::new(tcp, Jiffies { hz })));
            line.settings = Some(Settings::new(tcp, Jiffies { hz }));
            line.totals = Some(Totals::new(&tcp.totals));
        }
        line
    }
}

fn identity(observed: &Observed) -> Line {
    let event = &observed.event;
    let endpoint = &event.endpoint;
    let offset = observed.realtime.wrapping_sub(event.time.cast_signed());
    Line {
        v: VERSION,
        time: Timestamp::from_nanosecond(observed.realtime.into()).unwrap_or(Timestamp::UNIX_EPOCH),
        monotonic_ns: event.time,
        event: EventWord::of(&event.detail),
        stands_for: event.stands_for,
        connection: observed.connection.map(|id| id.to_string()),
        netns: endpoint.netns,
        cgroup: endpoint.cgroup,
        place: PlaceNames::new(&observed.place),
        family: family(endpoint.local.ip()),
        protocol: (endpoint.protocol != TCP).then_some(endpoint.protocol),
        local: endpoint.local.into(),
        remote: endpoint.remote.into(),
        state: endpoint.state,
        uid: endpoint.uid,
        process: observed.owner.as_ref().map(Owner::from),
        current: event.current.as_ref().map(Thread::from),
        sections: event.signal().sections(&observed.known()),
        outlook: observed.outlook.map(|outlook| Outlook::new(&outlook, offset)),
        tcp: None,
        settings: None,
        totals: None,
    }
}

fn family(address: IpAddr) -> IpVersion {
    match address {
        IpAddr::V4(_) => IpVersion::Ipv4,
        IpAddr::V6(_) => IpVersion::Ipv6,
    }
}

impl From<&agent_model::event::Owner> for Owner {
    fn from(owner: &agent_model::event::Owner) -> Self {
        let agent_model::event::Owner { process, source } = owner;
        Self { pid: process.pid, comm: process.comm.to_string(), source: *source }
    }
}

impl From<&agent_model::event::Thread> for Thread {
    fn from(thread: &agent_model::event::Thread) -> Self {
        let agent_model::event::Thread { process, tid } = thread;
        Self { pid: process.pid, tid: *tid, comm: process.comm.to_string() }
    }
}
