//! All that reads what others wrote, as functions of bytes that must not panic, hang or grow: run for a moment by
//! `tests/hostile.rs`, for as long as one likes by `fuzz`.

use std::sync::Arc;
use std::time::Duration;

use agent_correlate::lineage::Lineage;
use agent_correlate::observed::Observed;
use agent_diagnose::Diagnosed;
use agent_model::decode::decode;
use agent_model::frame::Frame;
use agent_model::limits::{Limits, MAX_PENDING};
use agent_source::kernel::btf::Btf;
use agent_source::kernel::{facts, layout};
use agent_source::{host, recording};
use bytes::Bytes;

use crate::answers::why::{self, Wanted};
use crate::filter::query::Query;
use crate::metrics::Format;
use crate::pipeline::{Pipeline, Sink};
use crate::schema::{Gap, Item};

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// By name.
pub const TARGETS: [(&str, Target); 9] = [
    ("btf", btf),
    ("cgroup_path", cgroup_path),
    ("decode", decode_both),
    ("filter", filter),
    ("line", line),
    ("pipeline", pipeline),
    ("proc", proc),
    ("recording", recording),
    ("request", request),
];

/// Few, so that they are reached.
const LIMITS: Limits = Limits { connections: 8, history: 4, history_age: Duration::from_mins(1) };

fn btf(bytes: &[u8]) {
    if let Ok(btf) = Btf::parse(bytes) {
        let _ = layout::resolve(&btf);
        let _ = facts::drop_reasons(&btf);
    }
}

fn cgroup_path(bytes: &[u8]) {
    let _ = Lineage::parse(&String::from_utf8_lossy(bytes));
}

fn decode_both(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    for frame in [Frame::Record(bytes.clone()), Frame::from_json(bytes)] {
        let _ = (frame.netns(), decode(&frame));
    }
}

/// What is read must be written so that it is read again.
fn filter(bytes: &[u8]) {
    let query = String::from_utf8_lossy(bytes);
    if let Ok(query) = Query::parse(&query) {
        assert_eq!(Query::parse(&query.to_query()).as_ref(), Ok(&query));
    }
    if let Ok(wanted) = Wanted::parse(&query) {
        let again = Wanted::parse(&wanted.to_query()).map(|again| again.to_query());
        assert_eq!(again.ok(), Some(wanted.to_query()));
    }
}

fn line(bytes: &[u8]) {
    if let Ok(item) = Item::parse(bytes) {
        assert!(Item::parse(item.to_json().as_bytes()).is_ok());
    }
}

/// Frames: a length of two bytes whose highest bit says that it is a fact, then as many bytes.
fn pipeline(mut bytes: &[u8]) {
    let mut pipeline = Pipeline::new(LIMITS, Nobody);
    while let Some((head, rest)) = bytes.split_first_chunk() {
        let head = u16::from_le_bytes(*head);
        let (frame, rest) = rest.split_at(rest.len().min(usize::from(head & 0x7fff)));
        let frame = Bytes::copy_from_slice(frame);
        pipeline.push(&if head & 0x8000 == 0 { Frame::Record(frame) } else { Frame::from_json(frame) });
        bytes = rest;
    }
    // A fact may set other limits, as a recording's first does.
    let (sizes, limits) = (pipeline.correlator().sizes(), pipeline.correlator().limits());
    // Those that died a moment ago wait to be judged.
    assert!(sizes.connections <= limits.connections && sizes.history <= limits.history + MAX_PENDING);
    let _ = pipeline.tally();
    let _ = why::report(pipeline.correlator(), pipeline.tracker(), &Wanted::default());
}

fn proc(bytes: &[u8]) {
    host::read_any(bytes);
}

fn recording(bytes: &[u8]) {
    let Ok(reader) = recording::Reader::new(bytes) else { return };
    // Every item takes a byte of the input at least, or is the last.
    assert!(reader.count() <= 2 * bytes.len() + 1);
}

fn request(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = Format::negotiate(&text);
    if let Ok(uri) = text.parse::<hyper::Uri>() {
        filter(uri.query().unwrap_or_default().as_bytes());
    }
}

/// Hears nothing.
struct Nobody;

impl Sink for Nobody {
    fn observed(&mut self, _: Arc<Observed>) {}
    fn diagnosed(&mut self, _: Arc<Diagnosed>) {}
    fn gap(&mut self, _: Arc<Gap>) {}
}
