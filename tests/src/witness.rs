//! Whether the kernel ran the agent's programs each time that it came by their tracepoints.
//!
//! It need not. While a program that the kernel preempted waits, no other task of its processor runs that program. And
//! some machines never run a tracing program while a thread of their process 1 is `current` (seen on a Firecracker
//! guest: every BPF program on the host misses those events): a timer that interrupts such a thread is untold for the
//! agent and for bpftrace alike, in about one of 200 ticks. perf's counters of the same tracepoints go on in both cases,
//! so that a miss can be proved.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;

use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};
use nix::sched::{CloneFlags, unshare};

use crate::agent::{agent, folder};
use crate::skip::skip;
use crate::wait;

/// Programs, as the kernel shortens their names, and their tracepoints: first those of which a timer's events are printed.
const PROGRAMS: [(&str, &str); 7] = [
    ("retransmit", "tcp/tcp_retransmit_skb"),
    ("synack_retransm", "tcp/tcp_retransmit_synack"),
    ("reset_sent", "tcp/tcp_send_reset"),
    ("reset_received", "tcp/tcp_receive_reset"),
    ("state_changed", "sock/inet_sock_set_state"),
    ("sock_destroyed", "tcp/tcp_destroy_sock"),
    ("packet_dropped", "skb/kfree_skb"),
];

/// All but the last: packets are dropped all the time, and a moment without is longer to wait for.
const OF_SOCKETS: usize = PROGRAMS.len() - 1;

/// `struct perf_event_attr` as far as its first version goes (`PERF_ATTR_SIZE_VER0`). What is left at zero counts, at
/// once, and whoever runs.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    rest: [u64; 6],
}

const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;

/// One program, and perf's counters of its tracepoint.
struct Watched {
    program: u32,
    passes: Vec<File>,
}

/// How far each program was behind its tracepoint at a moment; what the numbers were then does not matter.
pub struct Witness<'a> {
    watched: &'a [Watched],
    behind: Vec<i64>,
}

/// The programs of some processes, and their tracepoints.
pub struct Witnesses(Vec<Watched>);

impl Witnesses {
    /// Of the programs that these processes have loaded.
    pub fn of(processes: &[u32]) -> Self {
        Self(watch(processes, OF_SOCKETS))
    }

    /// From now on.
    pub fn begin(&self) -> Witness<'_> {
        Witness { watched: &self.0, behind: behind(&self.0) }
    }

    /// Tests what timers do. What fails is a failure, unless the kernel is seen to have run no program for an event:
    /// then the scene proves nothing, and `test` is skipped by its name, so that a rise in such accidents is seen.
    pub fn insist(&self, test: &str, scene: impl FnOnce()) {
        let witness = self.begin();
        // Whatever the scene leaves behind, nothing of it is looked at again.
        let Err(failure) = catch_unwind(AssertUnwindSafe(scene)) else { return };
        if !witness.saw_a_miss() {
            resume_unwind(failure);
        }
        skip(test, MISSED);
    }
}

impl Witness<'_> {
    /// Whether the kernel came by any of the tracepoints without running the program.
    pub fn saw_a_miss(&self) -> bool {
        behind(self.watched).iter().zip(&self.behind).any(|(now, before)| now > before)
    }
}

/// Why a test that failed proves nothing.
pub const MISSED: &str = "the kernel came by a tracepoint and ran no program there";

/// Those of the agent, with the one of dropped packets, that the tests of one file share.
pub fn of_drops() -> &'static Witnesses {
    static WITNESSES: OnceLock<Witnesses> = OnceLock::new();
    WITNESSES.get_or_init(|| Witnesses(watch(&[agent().pid()], PROGRAMS.len())))
}

/// Those of the agent that the tests of one file share.
pub fn of_agent() -> &'static Witnesses {
    static WITNESSES: OnceLock<Witnesses> = OnceLock::new();
    WITNESSES.get_or_init(|| Witnesses::of(&[agent().pid()]))
}

fn behind(watched: &[Watched]) -> Vec<i64> {
    watched.iter().map(Watched::behind).collect()
}

impl Watched {
    /// Other tests cause events meanwhile: the two numbers are of one moment if nothing passed between.
    fn behind(&self) -> i64 {
        wait::some("a moment without an event", || {
            let (before, runs, after) = (self.passes(), runs(self.program), self.passes());
            (before == after).then(|| before.cast_signed() - runs.cast_signed())
        })
    }

    fn passes(&self) -> u64 {
        self.passes.iter().map(count).sum()
    }
}

fn count(mut counter: &File) -> u64 {
    let mut bytes = [0; 8];
    counter.read_exact(&mut bytes).expect("read a counter of perf's");
    u64::from_ne_bytes(bytes)
}

fn runs(program: u32) -> u64 {
    let all = loaded_programs().filter_map(Result::ok);
    all.filter(|info| info.id() == program).map(|info| info.run_count()).sum()
}

/// The first so many of [`PROGRAMS`].
fn watch(processes: &[u32], programs: usize) -> Vec<Watched> {
    // For as long as this process lives, which keeps the descriptor.
    static STATS: OnceLock<OwnedFd> = OnceLock::new();
    STATS.get_or_init(|| enable_stats(Stats::RunTime).expect("have the kernel count the runs of programs"));
    let tracepoints = tracepoints();
    processes.iter().flat_map(|&process| watch_one(process, &tracepoints[..programs])).collect()
}

fn watch_one(process: u32, tracepoints: &[u64]) -> Vec<Watched> {
    let own = programs(process);
    let infos: Vec<_> =
        loaded_programs().filter_map(Result::ok).filter(|info| own.contains(&info.id())).collect();
    let watched = PROGRAMS.iter().zip(tracepoints).map(|((name, _), &tracepoint)| {
        let info = infos.iter().find(|info| info.name_as_str() == Some(name));
        let program = info.unwrap_or_else(|| panic!("no program {name} in {infos:?}")).id();
        Watched { program, passes: processors().map(|cpu| counter(tracepoint, cpu)).collect() }
    });
    watched.collect()
}

/// Ids of the programs of a process.
fn programs(process: u32) -> BTreeSet<u32> {
    let files = fs::read_dir(format!("/proc/{process}/fdinfo")).expect("list a process's files");
    let texts = files.filter_map(|file| fs::read_to_string(file.ok()?.path()).ok());
    let id = |text: String| text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok());
    texts.filter_map(id).collect()
}

fn counter(tracepoint: u64, cpu: libc::c_int) -> File {
    let attributes = Attributes {
        kind: PERF_TYPE_TRACEPOINT,
        size: size_of::<Attributes>() as u32,
        config: tracepoint,
        rest: [0; 6],
    };
    let (everybody, alone): (libc::pid_t, libc::c_int) = (-1, -1);
    // SAFETY: the attributes live for the call and say how long they are.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            everybody,
            cpu,
            alone,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    assert!(fd >= 0, "count tracepoint {tracepoint}: {}", io::Error::last_os_error());
    // SAFETY: the kernel has just given this descriptor to nobody else.
    unsafe { File::from_raw_fd(fd as libc::c_int) }
}

/// Numbers of those that are online: `0-3,5`.
fn processors() -> impl Iterator<Item = libc::c_int> {
    let text = fs::read_to_string("/sys/devices/system/cpu/online").expect("read the processors");
    let ranges: Vec<_> = text.trim().split(',').map(range).collect();
    ranges.into_iter().flatten()
}

fn range(text: &str) -> std::ops::RangeInclusive<libc::c_int> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    first.parse().expect("a processor")..=last.parse().expect("a processor")
}

/// Numbers of the tracepoints of [`PROGRAMS`].
fn tracepoints() -> [u64; PROGRAMS.len()] {
    static NUMBERS: OnceLock<[u64; PROGRAMS.len()]> = OnceLock::new();
    *NUMBERS.get_or_init(read_tracepoints)
}

/// Reads them where nobody else sees the mount that it takes.
fn read_tracepoints() -> [u64; PROGRAMS.len()] {
    let place = folder().join("tracing");
    fs::create_dir_all(&place).expect("create a folder");
    let read = thread::spawn(move || {
        // Threads share their folders and mounts unless they ask.
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).expect("unshare the mounts");
        mount(&["--make-rprivate", "/"]);
        mount(&["-t", "tracefs", "none", place.to_str().expect("a path of plain text")]);
        PROGRAMS.map(|(_, tracepoint)| number(&place.join("events").join(tracepoint).join("id")))
    });
    read.join().expect("read the tracepoints")
}

fn mount(arguments: &[&str]) {
    let output = Command::new("mount").args(arguments).output().expect("start mount");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn number(file: &Path) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.trim().parse().expect("a number")
}
