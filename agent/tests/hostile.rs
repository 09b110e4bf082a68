//! A short run of every target of `agent::hostile`: what is stored, and what a few random changes make of it.
//! `TCPWHY_FUZZ_SECONDS` gives each more than a second. What follows the coverage of the code is in `fuzz`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use agent::hostile::{TARGETS, Target};
use agent_source::recording::Reader;

/// Marsaglia's, of 64 bits.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `end`, which is above 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Flips, numbers at their bounds, cuts, repetitions.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.next() as u8),
                2 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                3 if at + 4 <= bytes.len() => {
                    let bounds = [0_u32, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX];
                    bytes[at..at + 4].copy_from_slice(&bounds[self.below(5)].to_le_bytes());
                }
                _ => {
                    let again = bytes[at..(at + self.below(64)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, again);
                }
            }
        }
    }
}

fn data(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// A recording's frames, as the pipeline's target reads them.
fn stream() -> Vec<u8> {
    let recording = data("trouble.rec");
    let frames = Reader::new(&recording[..]).expect("a recording").map(|frame| frame.expect("a frame"));
    frames
        .flat_map(|frame| {
            let fact = if matches!(frame, agent_model::frame::Frame::Record(_)) { 0 } else { 0x8000 };
            let bytes = frame.recorded();
            let head = (bytes.len() as u16 | fact).to_le_bytes();
            [&head[..], &bytes].concat()
        })
        .collect()
}

/// What a target takes to be right.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    match target {
        "btf" => {
            vec![
                data("../../source/tests/data/btf/x86_64-6.12.117+deb12-cloud-amd64.btf"),
                data("../../source/tests/data/btf/s390x-6.12.95+deb12-s390x.btf"),
            ]
        }
        "cgroup_path" => texts(&[
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod9a64b8de_3f56_4f7c_8a0a_1d2f3a4b5c6d.slice",
            "/system.slice/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope",
        ]),
        "decode" => {
            let recording = data("trouble.rec");
            let frames = Reader::new(&recording[..]).expect("a recording").flatten();
            frames.map(|frame| frame.recorded().into_owned()).collect()
        }
        "filter" | "request" => texts(&[
            "/v1/events?port=443&address=192.0.2.0/24&since=2026-01-31T12:00:00Z&kind=timeout&comm=a%20b",
            "cause=peer_reset&netns=4026531840&pid=7&label=app%3Dweb",
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.4,*/*",
        ]),
        "line" => texts(&[
            r#"{"v":1,"event":"missed","count":7}"#,
            r#"{"v":1,"event":"lost","signal":"reset_sent"}"#,
        ]),
        "pipeline" => vec![stream()],
        "proc" => texts(&[
            "TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 358\nTcpExt: A B\nTcpExt: 1 2\n",
            "6,339,5140900,-;TCP: too many orphaned sockets\n",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234\nsock 640\n",
        ]),
        "recording" => vec![data("trouble.rec")],
        other => panic!("no seeds for {other}"),
    }
}

/// For `cargo xtask fuzz` to begin with.
fn store(name: &str, seeds: &[Vec<u8>]) {
    let Some(corpora) = std::env::var_os("TCPWHY_FUZZ_SEEDS") else { return };
    let corpus = Path::new(&corpora).join(name);
    fs::create_dir_all(&corpus).expect("make a folder");
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(corpus.join(format!("seed-{number}")), seed).expect("write a seed");
    }
}

fn run(name: &str, target: Target, time: Duration) -> u64 {
    let (seeds, until, mut runs) = (seeds(name), Instant::now() + time, 0);
    store(name, &seeds);
    // Another start each time would fail where nobody can repeat it.
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for seed in &seeds {
        target(seed);
    }
    while Instant::now() < until {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        random.change(&mut bytes);
        target(&bytes);
        runs += 1;
    }
    runs
}

#[test]
fn no_bytes_panic() {
    let seconds = std::env::var("TCPWHY_FUZZ_SECONDS").map_or(1, |text| text.parse().expect("seconds"));
    std::thread::scope(|scope| {
        for (name, target) in TARGETS {
            scope.spawn(move || {
                let runs = run(name, target, Duration::from_secs(seconds));
                println!("{name}: {runs} runs");
                assert!(runs > 0, "{name} never ran");
            });
        }
    });
}
