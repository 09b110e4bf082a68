//! What is said of stories.

use agent_common::record::{OWNED, REQUEST, TIME_WAIT, TcpRecord};
use agent_common::{owner, retransmit, signal};
use agent_model::cause::Cause;
use agent_model::event::Fact;
use agent_model::fixture::{ESTABLISHED, RecordBytes, put};

use crate::fixture::*;
use crate::{Certainty, Diagnosis, Phase};

mod astray;
mod drops;
mod holders;
mod living;
mod origin;
mod resets;
mod silence;
mod storm;

pub fn certainty(diagnosis: &Diagnosis) -> Certainty {
    diagnosis.evidence[0].certainty
}

pub fn says(diagnosis: &Diagnosis, part: &str) {
    let mut evidence = diagnosis.evidence.iter().map(|one| &one.text);
    let found =
        evidence.any(|text| text.contains(part)) || diagnosis.advice.iter().any(|text| text.contains(part));
    assert!(found || diagnosis.summary.contains(part), "no {part:?} in {diagnosis:#?}");
}

pub fn says_not(diagnosis: &Diagnosis, part: &str) {
    let texts = diagnosis.evidence.iter().map(|one| &one.text).chain(&diagnosis.advice);
    let found = texts.chain([&diagnosis.summary]).find(|text| text.contains(part));
    assert!(found.is_none(), "{part:?} in {diagnosis:#?}");
}
