//! What the agent says of connections that the kernel gives up without a reset.

use std::time::Duration;

use tests::agent::event::Event;
use tests::link::{Family, Pair};
use tests::live::{self, Silent, Watched, named};
use tests::scenes::death::{self, Death};

/// Lets `scene` happen and returns the line of the end, with the scene; as many resends have a line as the
/// kernel counted.
fn end_of(pair: Pair, scene: impl FnOnce(&Pair) -> Death) -> Result<(Event, Death), Silent> {
    let watched = Watched::new(pair);
    let death = scene(&watched.pair);
    let events = watched.of(death.side);
    let resends = named(&events, "retransmit").len() as u64;
    let is_end =
        |event: &Event| event.name() == "state_changed" && event.text("/state_change/new") == "CLOSE";
    let end = events.iter().find(|event| is_end(event)).ok_or(Silent)?;
    if resends < death.snmp.get("TcpRetransSegs") {
        return Err(Silent);
    }
    assert_eq!(resends, death.snmp.get("TcpRetransSegs"), "{events:#?}");
    assert_eq!(end.text("/state_change/old"), death.state);
    assert_eq!(end.text("/state_change/error"), "ETIMEDOUT");
    assert!(named(&events, "reset_sent").is_empty(), "a timeout sends no reset");
    Ok((end.clone(), death))
}

#[test]
fn silence() {
    live::each(|family| {
        let (end, _) = end_of(Pair::without_probes(), |pair| death::silence(pair, family, 1))?;
        assert_eq!(end.number("/tcp/retransmits"), 2);
        Ok(())
    });
}

#[test]
fn user_timeout() {
    live::each(|family| {
        let timeout = Duration::from_secs(1);
        let (end, _) = end_of(Pair::without_probes(), |pair| death::user_timeout(pair, family, timeout))?;
        assert_eq!(end.number("/tcp/user_timeout_ms"), 1000);
        Ok(())
    });
}

#[test]
fn connect() {
    live::each(|family| {
        let (end, _) = end_of(Pair::new(), |pair| death::connect(pair, family, 1))?;
        assert_eq!(end.number("/settings/syn_retries"), 1);
        Ok(())
    });
}

#[test]
fn orphan() {
    live::each(|family| {
        let (end, _) = end_of(Pair::without_probes(), |pair| death::orphan(pair, family, 1))?;
        assert_eq!(end.find("/tcp/orphan"), Some(&true.into()), "{end:?}");
        Ok(())
    });
}

#[test]
fn own_device_down_shows_no_resend() {
    live::insist(|| {
        let (_, death) = end_of(Pair::new(), |pair| death::own_device_down(pair, Family::V4, 1))?;
        assert_eq!(death.snmp.get("TcpRetransSegs"), 0);
        Ok(())
    });
}
