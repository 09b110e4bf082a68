use agent_model::event::TcpFlags;

use super::*;

const ACK_PSH: u8 = 0x18;

/// The server's host has no such connection, and says so to a segment with data.
fn met_none(time: u64, flags: u8) -> RecordBytes {
    let mut record = RecordBytes::plain(signal::RESET_SENT, time).reset(1, false).ends(SERVER, CLIENT);
    put!(record, record.detail.reset_sent.trigger_flags, flags);
    put!(record, record.detail.reset_sent.trigger_seq, 1000_u32);
    put!(record, record.detail.reset_sent.trigger_len, 150_u32);
    record
}

/// The client gets the reset.
fn was_reset(time: u64, acknowledged: u64) -> RecordBytes {
    let mut record = RecordBytes::tcp(signal::RESET_RECEIVED, time).socket(SK + 8, 43).ends(CLIENT, SERVER);
    put!(record, record.endpoint.netns, 8_u32);
    put!(record, tcp.bytes_acked, acknowledged);
    put!(record, tcp.snd_una, 1000_u32);
    put!(record, tcp.snd_nxt, 1150_u32);
    put!(record, tcp.write_seq, 1150_u32);
    put!(record, tcp.err, 104_i32);
    record.state(ESTABLISHED).owner(5, "kubelet", owner::CONNECT)
}

fn both(diagnoses: &[Diagnosis]) -> [&Diagnosis; 2] {
    let find = |with: bool| diagnoses.iter().find(|one| one.connection.is_some() == with).expect("both ends");
    assert!(diagnoses.iter().all(|one| one.cause == Cause::NoSuchConnection), "{diagnoses:#?}");
    [find(false), find(true)]
}

#[test]
fn a_segment_that_meets_no_connection_is_reported_at_both_ends() {
    let mut bench = Bench::new();
    bench.push(&listen(128));
    bench.push(&met_none(SECOND, ACK_PSH));
    bench.push(&was_reset(SECOND + 1, 5000));
    let diagnoses = bench.diagnoses();
    let [here, there] = both(&diagnoses);
    says(here, "10.0.0.2:5555 sent a segment of a connection that 10.0.0.1:80 does not have: reset");
    says(here, &format!("a segment with {} and 150 bytes", TcpFlags(ACK_PSH)));
    says(
        there,
        "the connection of kubelet[5] was reset by 10.0.0.1:80 in network namespace 4026531840, on this host",
    );
    says(there, "150 bytes were never acknowledged");
    // Of data that was acknowledged before, no handshake can be the reason.
    assert!(!format!("{there:?}").contains("handshake was with"), "{there:#?}");
}

#[test]
fn a_new_connection_lost_its_listener_within_the_handshake() {
    let mut bench = Bench::new();
    bench.push(&met_none(SECOND, ACK_PSH));
    bench.push(&was_reset(SECOND + 1, 1));
    // Nobody listens: no handshake was possible.
    assert!(!format!("{:?}", bench.diagnoses()).contains("tcp_migrate_req"));
    let mut bench = Bench::new();
    bench.push(&listen(128));
    bench.push(&met_none(SECOND, ACK_PSH));
    bench.push(&was_reset(SECOND + 1, 1));
    let diagnoses = bench.diagnoses();
    assert!(both(&diagnoses)[1].advice[0].contains("tcp_migrate_req"));
}

#[test]
fn who_has_the_connection_elsewhere_is_named() {
    let mut bench = Bench::new();
    let mut elsewhere = timeout(SECOND - 1, 1, 200).owner(9, "haproxy", owner::CONNECT);
    put!(elsewhere, record.endpoint.netns, 9_u32);
    bench.push(&elsewhere);
    bench.push(&met_none(SECOND, ACK_PSH));
    let diagnoses = bench.diagnoses();
    let here = diagnoses.iter().find(|one| one.cause == Cause::NoSuchConnection).expect("a verdict");
    says(here, "haproxy[9] still has this connection open in network namespace 9: 10.0.0.1 is there too");
}

#[test]
fn a_port_of_another_connection_means_a_lost_translation() {
    let mut bench = Bench::new();
    let neighbour =
        timeout(SECOND - 1, 1, 200).ends(SERVER, "203.0.113.100:80").owner(9, "web", owner::CONNECT);
    bench.push(&neighbour);
    bench.push(&met_none(SECOND, ACK_PSH));
    let diagnoses = bench.diagnoses();
    let here = diagnoses.iter().find(|one| one.cause == Cause::NoSuchConnection).expect("a verdict");
    says(here, "10.0.0.1:80 belongs to the connection of web[9] to 203.0.113.100:80");
}

/// The reset reaches a connection whose peer has another address: sequence numbers are not translated.
#[test]
fn through_a_translation_sequence_numbers_tell_whose_it_was() {
    let mut bench = Bench::new();
    bench.push(&met_none(SECOND, ACK_PSH));
    bench.push(&was_reset(SECOND + 1, 5000).ends(CLIENT, "203.0.113.100:80"));
    let diagnoses = bench.diagnoses();
    says(both(&diagnoses)[1], "it was sent to 203.0.113.100:80 and came to 10.0.0.1:80");
    let mut bench = Bench::new();
    let mut other = met_none(SECOND, ACK_PSH);
    put!(other, record.detail.reset_sent.trigger_seq, 9000_u32);
    bench.push(&other);
    bench.push(&was_reset(SECOND + 1, 5000).ends(CLIENT, "203.0.113.100:80"));
    let causes: Vec<_> = bench.diagnoses().iter().map(|one| one.cause).collect();
    assert_eq!(causes, [Cause::NoSuchConnection, Cause::PeerReset]);
}

#[test]
fn a_syn_and_an_old_reset_are_no_such_segments() {
    let mut bench = Bench::new();
    bench.push(&met_none(SECOND, 2));
    assert_eq!(bench.only().cause, Cause::ConnectionRefused);
    let mut bench = Bench::new();
    bench.push(&met_none(SECOND, ACK_PSH));
    bench.push(&was_reset(3 * SECOND, 5000));
    let causes: Vec<_> = bench.diagnoses().iter().map(|one| one.cause).collect();
    assert_eq!(causes, [Cause::NoSuchConnection, Cause::PeerReset]);
}

#[test]
fn an_end_that_is_remembered_is_named() {
    let mut bench = Bench::new();
    bench.push(&closed(SECOND, ESTABLISHED, 103).owner(9, "web", owner::CONNECT));
    assert_eq!(bench.only().cause, Cause::Killed);
    bench.push(&listen(128));
    let to_listener = met_none(4 * SECOND, ACK_PSH).reset(16, false).socket(0x1000, 1).flags(REQUEST);
    bench.push(&to_listener.state(LISTEN));
    bench.push(&was_reset(4 * SECOND + 1, 5000));
    let diagnoses = bench.diagnoses();
    for one in both(&diagnoses) {
        says(one, "it had this connection, 2a of web[9], which ended 3s before: killed");
        says(one, "tcpwhy why --id 2a");
    }
}
