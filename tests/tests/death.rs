//! What the agent says of connections that the kernel gives up without a reset.

use std::time::Duration;

use tests::agent::event::Event;
use tests::link::{Family, Pair};
use tests::live::{Watched, named};
use tests::scenes::death::{self, Death};

/// Lets `scene` happen and returns the line of the end, with all lines of the socket.
fn told(pair: Pair, scene: impl FnOnce(&Pair) -> Death) -> (Event, Vec<Event>, Death) {
    let watched = Watched::new(pair);
    let death = scene(&watched.pair);
    let events = watched.of(death.side);
    let changes = named(&events, "state_changed");
    let end = changes
        .iter()
        .find(|event| event.text("/state_change/new") == "CLOSE")
        .unwrap_or_else(|| panic!("no end among {events:#?}"));
    assert_eq!(end.text("/state_change/old"), death.state);
    assert_eq!(end.text("/state_change/error"), "ETIMEDOUT");
    assert!(named(&events, "reset_sent").is_empty(), "a timeout sends no reset");
    ((*end).clone(), events.clone(), death)
}

/// Asserts as many lines of resends as the kernel counted.
fn assert_resends(events: &[Event], death: &Death) {
    let resends = named(events, "retransmit").len() as u64;
    assert_eq!(resends, death.snmp.get("TcpRetransSegs"), "{events:#?}");
}

#[test]
fn silence() {
    Family::each(|family| {
        let (end, events, death) = told(Pair::without_probes(), |pair| death::silence(pair, family, 1));
        assert_resends(&events, &death);
        assert_eq!(end.number("/tcp/retransmits"), 2);
    });
}

#[test]
fn user_timeout() {
    Family::each(|family| {
        let timeout = Duration::from_secs(1);
        let (_, events, death) =
            told(Pair::without_probes(), |pair| death::user_timeout(pair, family, timeout));
        assert_resends(&events, &death);
    });
}

#[test]
fn connect() {
    Family::each(|family| {
        let (_, events, death) = told(Pair::new(), |pair| death::connect(pair, family, 1));
        assert_resends(&events, &death);
    });
}

#[test]
fn orphan() {
    Family::each(|family| {
        let (_, events, death) = told(Pair::without_probes(), |pair| death::orphan(pair, family, 1));
        assert_resends(&events, &death);
    });
}

#[test]
fn own_device_down_shows_no_resend() {
    let (_, events, death) = told(Pair::new(), |pair| death::own_device_down(pair, Family::V4, 1));
    assert_eq!(death.snmp.get("TcpRetransSegs"), 0);
    assert!(named(&events, "retransmit").is_empty());
}
