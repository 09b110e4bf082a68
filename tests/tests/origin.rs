//! Who made a reset, by its packet; and silences that begin on this host, told when they begin.

use std::process::Command;

use serde_json::Value;
use tests::agent::event::Event;
use tests::agent::tail::Tail;
use tests::agent::{agent, program};
use tests::link::{Family, Pair};
use tests::live::{self, Silent, Watched};
use tests::scenes::dropped;
use tests::scenes::dropped::path::Routed;
use tests::scenes::{origin, reset};
use tests::skip::skip;
use tests::tcp::Side;

/// What is said of `side` in `phase`.
fn diagnosis(tail: &Tail, side: Side, phase: &str) -> Event {
    tail.wait_for("a diagnosis", |event| event.is("diagnosis", side) && event.text("/phase") == phase)
}

/// Whether this kernel lets nobody sit at the entry of `tcp_reset`, where the packet is; then the test is skipped.
fn sees_no_packet() -> bool {
    let output = Command::new(program()).args(["check", "--output", "json"]).output().expect("start tcpwhy");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let mut probes = report["probes"].as_array().expect("probes").iter();
    let state = &probes.find(|probe| probe["name"] == "reset_segment").expect("the probe")["state"];
    if state != "up" {
        skip(&live::name(), &format!("reset_segment is {state}: the packet of a RST is not seen"));
    }
    state != "up"
}

/// Everything that it says, each with how certain it is.
fn all(diagnosis: &Event) -> String {
    let evidence = diagnosis.find("/evidence").and_then(Value::as_array).expect("evidence");
    let line =
        |one: &Value| format!("{}: {}", one["certainty"].as_str().unwrap(), one["text"].as_str().unwrap());
    let lines: Vec<_> = evidence.iter().map(line).collect();
    format!("{}\n{}", diagnosis.text("/summary"), lines.join("\n"))
}

fn assert_says(diagnosis: &Event, wanted: &[&str]) {
    let text = all(diagnosis);
    for wanted in wanted {
        assert!(text.contains(wanted), "no {wanted:?} in {text}");
    }
}

fn assert_says_not(diagnosis: &Event, unwanted: &str) {
    let text = all(diagnosis);
    assert!(!text.contains(unwanted), "{unwanted:?} in {text}");
}

#[test]
fn a_neighbours_reset_passed_no_router() {
    if sees_no_packet() {
        return;
    }
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let reset = origin::by_peer(&watched.pair, family, 0);
        let told = diagnosis(watched.tail(reset.side), reset.side, "died");
        assert_eq!(told.text("/cause"), "peer_reset", "{told:#?}");
        assert_says(
            &told,
            &["observed: the RST came in by device 11 with TTL 64", "inferred: no router lies between"],
        );
    });
}

#[test]
fn the_peers_unread_data_are_what_its_reset_is_compared_with() {
    if sees_no_packet() {
        return;
    }
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let reset = origin::by_peer(&watched.pair, family, 100);
        let told = diagnosis(watched.tail(reset.side), reset.side, "died");
        assert_says(
            &told,
            &[
                "observed: data of the peer that is not read yet had come with TTL 64",
                "inferred: it passed 0 routers, as the peer's data did",
            ],
        );
    });
}

#[test]
fn a_reset_from_behind_a_router_passed_it() {
    if sees_no_packet() {
        return;
    }
    let routed = Routed::new();
    let tail = agent().tail(&routed.client);
    let reset = origin::behind_router(&routed, 0);
    let told = diagnosis(&tail, reset.side, "died");
    assert_eq!(told.text("/cause"), "peer_reset", "{told:#?}");
    assert_says(&told, &["with TTL 63", "inferred: it passed 1 router, if its TTL began at 64"]);
    let reset = origin::behind_router(&routed, 100);
    assert_says(
        &diagnosis(&tail, reset.side, "died"),
        &["with TTL 63", "inferred: it passed 1 router, as the peer's data did"],
    );
}

#[test]
fn a_refusal_tells_how_far_it_came() {
    if sees_no_packet() {
        return;
    }
    let routed = Routed::new();
    let tail = agent().tail(&routed.client);
    let refused = origin::refused_behind_router(&routed);
    let told = diagnosis(&tail, refused.side, "died");
    assert_eq!(told.text("/cause"), "connection_refused", "{told:#?}");
    assert_says(&told, &["observed: the RST came in by device", "TTL 63", "inferred: it passed 1 router"]);
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let side = reset::no_socket(&watched.pair, family).receiver.expect("a client");
        let told = diagnosis(watched.tail(side), side, "died");
        assert_says(&told, &["refused the connect()", "with TTL 64", "no router lies between"]);
    });
}

#[test]
fn a_reset_of_the_routers_firewall_is_told_from_the_peers() {
    if sees_no_packet() {
        return;
    }
    let routed = Routed::new();
    let tail = agent().tail(&routed.client);
    let reset = origin::by_routers_firewall(&routed);
    let told = diagnosis(&tail, reset.side, "died");
    assert_eq!(told.text("/cause"), "rejected_by_netfilter", "{told:#?}");
    assert_says(&told, &["FORWARD", "with TTL 64", "had come with TTL 63", "not the peer made it"]);
}

#[test]
fn what_speaks_for_the_peer_on_the_way_is_told_from_it() {
    if sees_no_packet() {
        return;
    }
    let routed = Routed::new();
    let tail = agent().tail(&routed.client);
    let reset = origin::by_middlebox(&routed);
    let told = diagnosis(&tail, reset.side, "died");
    assert_eq!(told.text("/cause"), "peer_reset", "{told:#?}");
    assert_says(
        &told,
        &[
            "a device that is not the peer, by the way its RST came, reset the connection of",
            "inferred: it passed 0 routers and the peer's data 1: not the peer made it, but a device between",
        ],
    );
}

#[test]
fn a_reset_of_the_own_firewall_came_by_loopback() {
    if sees_no_packet() {
        return;
    }
    Family::each(|family| {
        let watched = Watched::new(Pair::new());
        let dropped = dropped::rejected(&watched.pair, family);
        let told = diagnosis(watched.tail(dropped.side), dropped.side, "died");
        assert_eq!(told.text("/cause"), "rejected_by_netfilter", "{told:#?}");
        assert_says(&told, &["by the loopback device", "it was made on this host, in the peer's name"]);
    });
}

#[test]
fn a_peer_in_the_same_namespace_speaks_for_itself() {
    if sees_no_packet() {
        return;
    }
    let pair = Pair::new();
    let tail = agent().tail(&pair.client);
    let client = reset::on_one_host(&pair.client, 100);
    let local = client.local_addr().expect("an address");
    let told =
        tail.wait_for("a diagnosis", |event| event.name() == "diagnosis" && event.local() == Some(local));
    assert_eq!(told.text("/cause"), "peer_reset", "{told:#?}");
    assert_says(&told, &["the peer reset the connection", "by the loopback device"]);
    assert_says_not(&told, "in the peer's name");
}

/// The kernel side keeps quiet about a packet that it obeys.
#[test]
fn a_reset_that_was_obeyed_is_no_drop() {
    let watched = Watched::new(Pair::new());
    let reset = origin::by_peer(&watched.pair, Family::V4, 0);
    diagnosis(watched.tail(reset.side), reset.side, "died");
    assert!(live::named(&watched.of(reset.side), "packet_dropped").is_empty());
}

/// The first diagnosis of `side`.
fn first(watched: &Watched, side: Side) -> Result<Event, Silent> {
    let told = watched.tail(side).until("a diagnosis", |event| event.is("diagnosis", side));
    told.into_iter().last().ok_or(Silent)
}

#[test]
fn a_route_that_is_gone_is_told_at_the_first_packet() {
    live::insist(|| {
        let watched = Watched::new(Pair::new());
        let gone = origin::route_gone_then_data(&watched.pair);
        let told = first(&watched, gone.side)?;
        assert_eq!((told.text("/cause"), told.text("/phase")), ("no_route", "stalled"), "{told:#?}");
        assert_says(&told, &["(1 packet, IP_OUTNOROUTES)"]);
        Ok(())
    });
}

#[test]
fn a_fin_that_finds_no_route_is_told_too() {
    live::insist(|| {
        let watched = Watched::new(Pair::new());
        let gone = origin::route_gone_then_close(&watched.pair);
        let told = first(&watched, gone.side)?;
        assert_eq!(told.text("/cause"), "no_route", "{told:#?}");
        Ok(())
    });
}

/// What cannot be made is dropped nowhere: the attempt itself tells (6.17+).
#[test]
fn an_address_that_goes_while_data_are_in_flight_is_told_at_the_first_resend() {
    live::insist(|| {
        let watched = Watched::new(Pair::without_probes());
        let gone = origin::address_gone_in_flight(&watched.pair);
        let told = first(&watched, gone.side)?;
        assert_eq!((told.text("/cause"), told.text("/phase")), ("no_route", "stalled"), "{told:#?}");
        assert_says(&told, &["this host has no way to send for it", "EHOSTUNREACH", "no packet was made"]);
        Ok(())
    });
}

#[test]
fn the_same_loss_with_the_address_in_place_is_the_paths() {
    live::insist(|| {
        let watched = Watched::new(Pair::without_probes());
        let lost = origin::lost_in_flight(&watched.pair);
        let told = first(&watched, lost.side)?;
        assert_eq!(told.text("/cause"), "retransmission_timeout", "{told:#?}");
        assert_says(&told, &["no packet of it was dropped on this host"]);
        Ok(())
    });
}
