//! A recording against cuts, flipped bits, noise and full disks.

use std::io::{self, Write};

use agent_model::event::Fact;
use agent_model::frame::Frame;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{MAX_BLOCK, Problem, Reader, Summary, Writer, block, header};

/// Writes `batches`, each as a block.
fn record(batches: &[Vec<Frame>]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file, "test").unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
        writer.flush().unwrap();
    }
    writer.finish().unwrap();
    file
}

/// What can be read, and what is wrong.
fn replay(file: &[u8]) -> (Vec<Frame>, Vec<Problem>) {
    let (mut frames, mut problems) = (Vec::new(), Vec::new());
    match Reader::new(file) {
        Ok(reader) => {
            reader.for_each(|item| item.map_or_else(|it| problems.push(it), |it| frames.push(it)));
        }
        Err(problem) => problems.push(problem),
    }
    (frames, problems)
}

fn fact(number: u32) -> Frame {
    Frame::Malformed(format!("{{\"number\":{number}}}").into())
}

fn three_blocks() -> (Vec<Vec<Frame>>, Vec<u8>) {
    let batches: Vec<Vec<_>> = (0..3).map(|block| (0..10).map(|n| fact(block * 10 + n)).collect()).collect();
    let file = record(&batches);
    (batches, file)
}

/// Where the blocks of a sound file start, the mark of its end included.
fn starts(file: &[u8]) -> Vec<usize> {
    let mut at = header::LEN;
    let mut starts = Vec::new();
    while at < file.len() {
        starts.push(at);
        let head = block::Head::parse(&super::field(file, at)).unwrap();
        at += block::HEAD + head.stored as usize;
    }
    starts
}

fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..600),
        (any::<u8>(), 0..600_usize).prop_map(|(byte, len)| vec![byte; len])
    ];
    let frame = prop_oneof![
        bytes.clone().prop_map(|bytes| Frame::Record(bytes.into())),
        bytes.prop_map(|bytes| Frame::from_json(bytes.into())),
        any::<i64>().prop_map(|offset| Frame::fact(Fact::Clock { offset })),
    ];
    prop::collection::vec(frame, 1..20)
}

fn batches() -> impl Strategy<Value = Vec<Vec<Frame>>> {
    prop::collection::vec(frames(), 0..5)
}

/// Whether `part` is `whole` with some elements left out.
fn is_subsequence(part: &[Frame], whole: &[Frame]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|frame| whole.any(|other| other == frame))
}

proptest! {
    #[test]
    fn what_was_written_is_read(batches in batches()) {
        let (frames, problems) = replay(&record(&batches));
        prop_assert_eq!(frames, batches.concat());
        prop_assert!(problems.is_empty(), "{:?}", problems);
    }

    #[test]
    fn no_bytes_panic(mut noise in prop::collection::vec(any::<u8>(), 0..4096), sound in any::<bool>()) {
        if sound {
            noise.splice(0..0, header::bytes());
        }
        let (frames, problems) = replay(&noise);
        prop_assert!(frames.is_empty() && !problems.is_empty());
    }

    #[test]
    fn marks_in_noise_lead_nowhere(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..50)) {
        let noise = pieces.join(&block::MARK[..]);
        let (frames, problems) = replay(&[&header::bytes()[..], &noise].concat());
        prop_assert!(frames.is_empty() && !problems.is_empty());
    }

    #[test]
    fn a_cut_costs_the_last_block(batches in batches(), cut in any::<Index>()) {
        let file = record(&batches);
        let cut = cut.index(file.len());
        let whole = starts(&file).iter().skip(1).filter(|&&end| end <= cut).count();
        let (frames, problems) = replay(&file[..cut]);
        prop_assert_eq!(frames, batches[..whole.min(batches.len())].concat());
        let is_reported = matches!(problems[..], [Problem::Truncated { .. } | Problem::Header(_)]);
        prop_assert!(is_reported, "{:?}", problems);
    }

    #[test]
    fn a_flipped_bit_is_reported(batches in batches(), bit in any::<Index>()) {
        let mut file = record(&batches);
        let bit = bit.index(file.len() * 8);
        file[bit / 8] ^= 1 << (bit % 8);
        let (frames, problems) = replay(&file);
        prop_assert!(!problems.is_empty());
        prop_assert!(is_subsequence(&frames, &batches.concat()));
    }

    #[test]
    fn no_damage_invents_a_frame(
        batches in batches(),
        at in any::<Index>(),
        len in 0..300_usize,
        patch in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut file = record(&batches);
        let at = at.index(file.len());
        file.splice(at..file.len().min(at + len), patch);
        let (frames, _) = replay(&file);
        prop_assert!(is_subsequence(&frames, &batches.concat()));
    }
}

#[test]
fn a_damaged_block_is_left_out_and_named() {
    let (batches, mut file) = three_blocks();
    let starts = starts(&file);
    file[starts[1] + block::HEAD + 3] ^= 1;
    let (frames, problems) = replay(&file);
    assert_eq!(frames, [&batches[0][..], &batches[2]].concat());
    let [Problem::Damaged { offset, bytes, frames: Some(10) }] = problems[..] else { panic!("{problems:?}") };
    assert_eq!((offset, bytes), (starts[1] as u64, (starts[2] - starts[1]) as u64));
}

#[test]
fn a_damaged_head_costs_its_block() {
    let (batches, mut file) = three_blocks();
    let starts = starts(&file);
    file[starts[0] + 20] ^= 1;
    let (frames, problems) = replay(&file);
    assert_eq!(frames, batches[1..].concat());
    let [problem @ Problem::Damaged { offset: 64, frames: Some(10), .. }] = &problems[..] else {
        panic!("{problems:?}")
    };
    assert_eq!(
        problem.to_string(),
        format!("{} damaged bytes at byte 64: 10 frames lost", starts[1] - starts[0])
    );
}

#[test]
fn what_was_cut_out_or_doubled_is_reported() {
    let (batches, file) = three_blocks();
    let starts = starts(&file);
    let (frames, problems) = replay(&[&file[..starts[1]], &file[starts[2]..]].concat());
    assert_eq!(frames, [&batches[0][..], &batches[2]].concat());
    assert!(matches!(problems[..], [Problem::Missing { frames: 10, .. }]), "{problems:?}");

    let (frames, problems) = replay(&[&file[..starts[2]], &file[starts[1]..]].concat());
    assert_eq!(frames, batches.concat());
    assert!(matches!(problems[..], [Problem::OutOfOrder { frames: 10, .. }]), "{problems:?}");
}

#[test]
fn a_second_recording_behind_the_first_is_reported() {
    let (batches, file) = three_blocks();
    let (frames, problems) = replay(&file.repeat(2));
    assert_eq!(frames, batches.concat());
    assert!(matches!(problems[..], [Problem::Trailing { .. }]), "{problems:?}");
}

/// Takes so many bytes, like a disk with so much room.
struct Disk<'a> {
    file: &'a mut Vec<u8>,
    room: usize,
}

impl Write for Disk<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(self.room - self.file.len());
        self.file.extend_from_slice(&bytes[..len]);
        if len == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(len) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_reported_once_and_keeps_what_it_has() {
    let mut file = Vec::new();
    let mut writer = Writer::new(Disk { file: &mut file, room: 200 }, "/var/full.rec").unwrap();
    writer.write(&[fact(1), fact(2)]).unwrap();
    writer.flush().unwrap();
    writer.write(&vec![fact(3); 100]).unwrap();
    writer.write(&(0..100).map(fact).collect::<Vec<_>>()).unwrap();
    let error = writer.flush().unwrap_err();
    assert_eq!(error.to_string(), "write /var/full.rec");
    writer.write(&[fact(4)]).unwrap();
    writer.flush().unwrap();
    writer.finish().unwrap();
    let Summary { frames, missed, bytes: _ } = writer.summary();
    assert_eq!((frames, missed), (2, 201));
    let (frames, problems) = replay(&file);
    assert_eq!(frames, [fact(1), fact(2)]);
    assert!(matches!(problems[..], [Problem::Truncated { .. }]), "{problems:?}");
}

#[test]
fn a_frame_larger_than_any_block_is_missed_and_counted() {
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file, "test").unwrap();
    let largest = Frame::Record(vec![7; MAX_BLOCK - block::FRAME_HEAD].into());
    let larger = Frame::Record(vec![7; MAX_BLOCK - block::FRAME_HEAD + 1].into());
    writer.write(&[fact(1), larger, largest.clone(), fact(2)]).unwrap();
    writer.finish().unwrap();
    assert_eq!(writer.summary().missed, 1);
    let (frames, problems) = replay(&file);
    assert_eq!(frames, [fact(1), largest, fact(2)]);
    assert!(problems.is_empty());
}

#[test]
fn blocks_are_cut_by_themselves() {
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file, "test").unwrap();
    let frames: Vec<_> = (0..1000).map(|n| Frame::Record(vec![n as u8; 512].into())).collect();
    writer.write(&frames).unwrap();
    writer.finish().unwrap();
    assert_eq!(starts(&file).len(), 3);
    assert_eq!(replay(&file).0, frames);
}
