use super::*;
use crate::source::recording::Reader;

/// A connect to a closed port, a peer silent for some timeouts, a close with unread bytes.
const TROUBLE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/trouble.rec"));

#[test]
fn a_recording_of_a_real_kernel_gives_its_causes() {
    let mut bench = Bench::new();
    for frame in Reader::new(TROUBLE).unwrap() {
        bench.0.push(&frame.unwrap());
    }
    let told = bench.told();
    let words: Vec<_> = told.iter().map(|one| (one.phase, one.cause)).collect();
    let stalls = words.iter().filter(|(phase, _)| *phase == Phase::Stalled);
    assert!(stalls.clone().count() >= 2, "{told:#?}");
    assert!(stalls.clone().all(|(_, cause)| *cause == Cause::RetransmissionTimeout), "{told:#?}");
    let deaths: Vec<_> =
        words.iter().filter(|(phase, _)| *phase == Phase::Died).map(|(_, cause)| *cause).collect();
    for cause in [Cause::ConnectionRefused, Cause::ClosedWithUnreadData, Cause::PeerReset] {
        assert_eq!(deaths.iter().filter(|death| **death == cause).count(), 1, "{cause} in {told:#?}");
    }
    let close = told.iter().find(|one| one.cause == Cause::ClosedWithUnreadData).unwrap();
    says(close, "closed with 1000 bytes unread");
    assert_eq!(bench.deaths(Cause::PeerReset), 0, "both ends are on this host");
}
