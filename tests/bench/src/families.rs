//! What it costs to know of process families: the hooks of fork and exit, the filter of dropped packets, and a
//! walk over 100,000 open files.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::sys::{Stats, enable_stats};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pause, pipe, read, write};
use tests::netns::Netns;

use crate::Subject;
use crate::agent::{Agent, Cost, UNLIMITED};
use crate::noop::Noop;
use crate::table::{Row, Table, median};

/// Rounds of which the median is reported.
const ROUNDS: usize = 5;
/// Processes, and packets, of a round.
const EVENTS: usize = 2000;
/// ns beyond a program that does nothing.
const HOOK: f64 = 150.0;
/// Open files of a walk.
const FILES: usize = 100_000;
/// Of one process: below the limit that any may have.
const EACH: usize = 12_500;
/// Walks of which the median is reported.
const WALKS: usize = 3;
/// ms.
const WALK: f64 = 50.0;
/// A scrape asks for a walk if the last one is as old.
const PAUSE: Duration = Duration::from_millis(10_500);

/// Something that is done [`EVENTS`] times.
type Load = fn(&Netns);

/// A load, and the programs that it is about.
const LOADS: [(&str, Load, &[&str]); 4] = [
    ("children of a shell", |_| nursery(children), &FAMILIES),
    ("grandchildren of a shell", |_| nursery(grandchildren), &FAMILIES),
    ("children of a listener", |netns| netns.run(|| nursery(children_of_a_listener)), &FAMILIES),
    ("datagrams to a closed port", unheard, &["packet_dropped"]),
];

const FAMILIES: [&str; 2] = ["process_forked", "process_exited"];

/// Measures all.
pub fn measure(subject: &Subject, table: &mut Table) -> Result<()> {
    hooks(subject, table)?;
    walk(subject, table, "plain files", plain, Some(WALK))?;
    walk(subject, table, "TCP sockets", socket, None)
}

fn hooks(subject: &Subject, table: &mut Table) -> Result<()> {
    // SockHeld: the kernel stops counting when it is closed, by a crash too.
    let _stats = enable_stats(Stats::RunTime).context("have the kernel time the programs")?;
    let (noop, agent) = (Noop::attach(subject)?, Agent::start(subject, UNLIMITED)?);
    let netns = Netns::new();
    for (what, load, programs) in LOADS {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let before = [noop.costs()?, agent.costs()?];
            load(&netns);
            let after = [noop.costs()?, agent.costs()?];
            rounds.push([0, 1].map(|side| {
                programs
                    .iter()
                    .map(|name| cost(&after[side], name) - cost(&before[side], name))
                    .collect::<Vec<_>>()
            }));
        }
        for (at, name) in programs.iter().enumerate() {
            let [noop, ours] =
                [0, 1].map(|side| median(rounds.iter().map(|round| round[side][at].mean()).collect()));
            table.push(Row {
                what: format!("`{name}`, {what} (ns beyond it)"),
                reference: format!("{noop:.0} ns, does nothing"),
                ours: format!("{ours:.0} ns"),
                ratio: Some(ours - noop),
                budget: Some(HOOK),
                why: COLD,
            });
        }
    }
    Ok(())
}

const COLD: &str = "a new or an ending task is cold memory: who its parent is takes loads that miss the caches, and \
    so does the look-up of that parent";

fn cost(costs: &BTreeMap<String, Cost>, name: &str) -> Cost {
    costs.get(name).copied().unwrap_or_default()
}

/// In a process of its own: the agent's parent is of interest, since its child has sockets.
fn nursery(load: fn()) {
    child(load);
}

fn children() {
    (0..EVENTS).for_each(|_| child(|| ()));
}

/// A connection a child is what forks are counted for.
fn children_of_a_listener() {
    let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
    children();
}

/// As a shell's: the entry of a parent is made and removed each time.
fn grandchildren() {
    (0..EVENTS).for_each(|_| child(|| child(|| ())));
}

/// Runs `act` in a process of its own.
fn child(act: fn()) {
    // SAFETY: the child allocates nothing, and ends without a destructor.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => drop(waitpid(child, None).expect("wait for a child")),
        ForkResult::Child => {
            act();
            // SAFETY: no preconditions.
            unsafe { libc::_exit(0) }
        }
    }
}

/// Dropped for a reason that has no event.
fn unheard(netns: &Netns) {
    netns.run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        for _ in 0..EVENTS {
            socket.send_to(b"x", "127.0.0.1:1").expect("send");
        }
    });
}

/// Processes that hold open files.
struct Crowd(Vec<Pid>);

impl Crowd {
    /// As many as it takes to hold [`FILES`], of which `open` opens one.
    fn open(open: fn() -> i32) -> Result<Self> {
        let (ready, opened) = pipe().context("make a pipe")?;
        let mut crowd = Self(Vec::new());
        for _ in 0..FILES / EACH {
            // SAFETY: the child calls nothing but the kernel.
            match unsafe { fork() }.context("fork")? {
                ForkResult::Parent { child } => crowd.0.push(child),
                ForkResult::Child => {
                    (0..EACH).for_each(|_| assert!(open() >= 0, "no more files"));
                    let _ = write(&opened, b"x");
                    loop {
                        pause();
                    }
                }
            }
        }
        for _ in &crowd.0 {
            read(&ready, &mut [0]).context("wait for the files")?;
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for pid in &self.0 {
            // They may be gone.
            let _ = kill(*pid, Signal::SIGKILL);
            let _ = waitpid(*pid, None);
        }
    }
}

fn plain() -> i32 {
    // SAFETY: standard error is open, and no memory is touched.
    unsafe { libc::dup(2) }
}

fn socket() -> i32 {
    // SAFETY: no preconditions.
    unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) }
}

/// Walks that scrapes ask for.
fn walk(
    subject: &Subject,
    table: &mut Table,
    what: &str,
    open: fn() -> i32,
    budget: Option<f64>,
) -> Result<()> {
    let crowd = Crowd::open(open)?;
    let agent = Agent::start(subject, &[])?;
    let walks = || -> Result<(f64, f64)> {
        let (metrics, _) = agent.scrape()?;
        let of = |name| metrics.sum(name, &[]).with_context(|| format!("no {name}"));
        Ok((of("tcpwhy_walk_seconds_total")?, of("tcpwhy_walks_total")?))
    };
    let (mut before, mut times) = (walks()?, Vec::new());
    for _ in 0..WALKS {
        thread::sleep(PAUSE);
        let now = walks()?;
        times.push((now.0 - before.0) / (now.1 - before.1).max(1.0) * 1000.0);
        before = now;
    }
    drop(crowd);
    let time = median(times);
    table.push(Row {
        what: format!("walk over {FILES} {what} (ms)"),
        ours: format!("{time:.0} ms"),
        ratio: Some(time),
        budget,
        ..Row::default()
    });
    Ok(())
}
