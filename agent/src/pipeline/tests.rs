use agent_model::cause::Cause;
use agent_source::recording::Reader;

use super::*;

/// A connect to a closed port, a peer silent for some timeouts, a close with unread bytes.
const TROUBLE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/trouble.rec"));

/// Keeps diagnoses.
#[derive(Default)]
struct Kept(Vec<Arc<Diagnosed>>);

impl Sink for Kept {
    fn observed(&mut self, _: Arc<Observed>) {}

    fn diagnosed(&mut self, diagnosed: Arc<Diagnosed>) {
        self.0.push(diagnosed);
    }

    fn gap(&mut self, _: Arc<Gap>) {}
}

#[test]
fn a_recording_of_a_real_kernel_gives_its_causes() {
    let mut pipeline = Pipeline::new(Limits::default(), Kept::default());
    for frame in Reader::new(TROUBLE).unwrap() {
        pipeline.push(&frame.unwrap());
    }
    pipeline.settle(u64::MAX);
    let said = std::mem::take(&mut pipeline.sink_mut().0);
    let words: Vec<_> = said.iter().map(|one| (one.diagnosis.phase, one.diagnosis.cause)).collect();
    let stalls = words.iter().filter(|(phase, _)| *phase == Phase::Stalled);
    assert!(stalls.clone().count() >= 2, "{said:#?}");
    assert!(stalls.clone().all(|(_, cause)| *cause == Cause::RetransmissionTimeout), "{said:#?}");
    let deaths: Vec<_> =
        words.iter().filter(|(phase, _)| *phase == Phase::Died).map(|(_, cause)| *cause).collect();
    for cause in [Cause::ConnectionRefused, Cause::ClosedWithUnreadData, Cause::PeerReset] {
        assert_eq!(deaths.iter().filter(|death| **death == cause).count(), 1, "{cause} in {said:#?}");
    }
    let close = said.iter().find(|one| one.diagnosis.cause == Cause::ClosedWithUnreadData).unwrap();
    assert!(close.diagnosis.summary.contains("1000 bytes unread"), "{close:#?}");
    let deaths = &pipeline.tracker().stats().deaths;
    assert_eq!(deaths[Cause::PeerReset as usize], 0, "both ends are on this host");
}
