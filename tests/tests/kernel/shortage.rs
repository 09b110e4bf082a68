//! The host's own limits, reached for real: `tcp_mem` and `tcp_max_orphans` are one for the whole host, so only
//! in a guest of `cargo xtask vm`, one after another.

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use agent_diagnose::Certainty;
use agent_diagnose::Diagnosed;
use agent_model::cause::Cause;
use socket2::SockRef;
use tests::link::{Family, Pair};
use tests::snmp::{Meter, sockstat};
use tests::tcp::{self, Connection};
use tests::wait;

use crate::running;
use crate::watch::{self, watch};

const TCP_MEM: &str = "/proc/sys/net/ipv4/tcp_mem";
const MAX_ORPHANS: &str = "/proc/sys/net/ipv4/tcp_max_orphans";

/// Pages that each processor may keep uncounted (1 MiB), of at most 16 processors, in and out.
const UNCOUNTED: u64 = 2 * 16 * 256;

/// Seconds that ten lines of the network's code in the kernel log have to last.
const MESSAGE_COST: &str = "/proc/sys/net/core/message_cost";

/// Between two troubles: at once they would be a storm, of which only the first are sent.
const PACE: Duration = Duration::from_millis(20);

/// A test at a time: what one holds counts against the limits of all. Each of its lines is in the kernel log, whatever
/// others were written before.
fn alone() -> (Setting, MutexGuard<'static, ()>) {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    (Setting::set(MESSAGE_COST, "0"), alone)
}

/// A setting of the whole host, put back at the end.
struct Setting {
    path: &'static str,
    before: String,
}

impl Setting {
    fn set(path: &'static str, value: &str) -> Self {
        let before = fs::read_to_string(path).unwrap_or_else(|error| panic!("read {path}: {error}"));
        fs::write(path, value).unwrap_or_else(|error| panic!("write {path}: {error}"));
        Self { path, before }
    }

    /// A limit of TCP's. The agent reads those once a second at most, and only in trouble, so that a reading of before
    /// is too old by then.
    fn limit(path: &'static str, value: &str) -> Self {
        let setting = Self::set(path, value);
        thread::sleep(Duration::from_secs(1));
        setting
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = fs::write(self.path, &self.before);
    }
}

/// All that was said of it; printed, so that pages of docs/causes can show it.
fn evidence(diagnosed: &Diagnosed) -> String {
    let Diagnosed { diagnosis, local, remote, .. } = diagnosed;
    let lines = diagnosis.evidence.iter().map(|one| format!("{:?}: {}", one.certainty, one.text));
    let text = lines.collect::<Vec<_>>().join("\n");
    let advice = diagnosis.advice.join("\n");
    println!(
        "why {}: {} ({local} -- {remote})\n{text}\n{advice}",
        diagnosis.cause.as_str(),
        diagnosis.summary
    );
    text
}

/// This process holds nearly all of TCP's memory, and is named for it with what its connections would fill.
fn names_this_process(diagnosed: &Diagnosed) {
    let Some(again) = watch().said_after_walk(diagnosed) else { return };
    let text = &evidence(&again);
    let pid = format!("[{}]", std::process::id());
    let most = text.lines().find(|line| line.contains("most of TCP's memory on this host: "));
    let (_, first) = most.unwrap_or_else(|| panic!("no holder in {text}")).split_once("host: ").expect("who");
    let first = first.split(',').next().expect("a holder");
    assert!(first.contains(&pid), "{first}");
    let share = text.lines().find(|line| line.contains("% of tcp_mem's high, which "));
    assert!(share.is_some_and(|line| line.contains(&pid) && line.starts_with("Inferred")), "{text}");
}

/// Goes on making trouble until `cause` is said at the client's side with `text` among its evidence.
fn cause(pair: &Pair, cause: Cause, text: &str, mut trouble: impl FnMut()) -> Diagnosed {
    let wanted = |diagnosed: &Diagnosed| {
        let says = diagnosed.diagnosis.evidence.iter().any(|one| one.text.contains(text));
        (diagnosed.diagnosis.cause == cause && says).then(|| diagnosed.clone())
    };
    let (deadline, meter, mut troubles) = (Instant::now() + wait::PATIENCE, Meter::new(&pair.client), 0);
    while Instant::now() < deadline {
        trouble();
        troubles += 1;
        thread::sleep(PACE);
        if let Some(diagnosed) = watch().said(&pair.client, wanted) {
            return diagnosed;
        }
    }
    let others = RefCell::new(Vec::new());
    watch().said(&pair.client, |diagnosed| -> Option<()> {
        others.borrow_mut().push(diagnosed.clone());
        None
    });
    let (counted, others) = (meter.read(), others.into_inner());
    panic!(
        "no {} with {text:?} of {troubles} troubles, counted {:?}, said {others:#?}",
        cause.as_str(),
        counted.changed()
    )
}

/// Connections whose senders have as much buffer as may be had without privilege, set by the application:
/// the kernel does not shrink those.
fn senders(pair: &Pair, count: usize) -> Vec<Connection> {
    (0..count).map(|_| sender(pair)).collect()
}

fn sender(pair: &Pair) -> Connection {
    let connection = Connection::open(pair, Family::V4);
    SockRef::from(&connection.client).set_send_buffer_size(2 << 20).expect("SO_SNDBUF");
    tcp::nonblocking(&connection.client);
    connection
}

/// Writes what the kernel takes.
fn write(mut stream: &TcpStream) {
    while stream.write(&[b'x'; 16 << 10]).is_ok() {}
}

#[test]
fn above_high_it_is_tcp_that_is_out_of_memory() {
    if !running::is_ours("above_high_it_is_tcp_that_is_out_of_memory") {
        return;
    }
    let _alone = alone();
    let pair = watch::pair();
    let _limits = Setting::limit(TCP_MEM, "1000 2990 3000");
    let connections = senders(&pair, 60);
    let meters = [Meter::new(&pair.client), Meter::new(&pair.server)];
    // High is so near to pressure that a socket without memory meets it before it has more than its share.
    let mut clients = connections.iter().map(|connection| &connection.client).cycle();
    let text = "tcp_mem is 1000 2990 3000: above high";
    let diagnosed = cause(&pair, Cause::OutOfTcpMemory, text, || write(clients.next().expect("a cycle")));
    let pages = sockstat(&pair.client, "TCP", "mem");
    evidence(&diagnosed);
    assert!(diagnosed.diagnosis.summary.contains(&format!("[{}]", std::process::id())), "{diagnosed:#?}");
    let memory = watch().tcp_memory();
    assert_eq!(memory.limits, [1000, 2990, 3000]);
    // It is read after the refusal, when the pressure may be over.
    assert!(
        meters.iter().any(|meter| meter.get("TcpExtTCPMemoryPressures") > 0),
        "no pressure on the way to high"
    );
    assert!(memory.pages.abs_diff(pages) <= UNCOUNTED, "{memory:?}, sockstat has {pages}");
    assert!(
        diagnosed.diagnosis.advice.iter().any(|advice| advice.contains("tcp_mem='2000 5980 6000'")),
        "{diagnosed:#?}"
    );
    names_this_process(&diagnosed);
}

#[test]
fn under_pressure_a_socket_beyond_its_share_is_refused() {
    if !running::is_ours("under_pressure_a_socket_beyond_its_share_is_refused") {
        return;
    }
    let _alone = alone();
    let pair = watch::pair();
    let connections = senders(&pair, 60);
    // The share of each of some 120 sockets is below pressure, which the greedy one alone passes.
    let _limits = Setting::limit(TCP_MEM, "1000 3000 300000");
    let greedy = &connections[0].client;
    tcp::force_send_buffer(greedy, 64 << 20);
    let text = "tcp_mem is 1000 3000 300000: under pressure, and this socket has more than its share";
    let diagnosed = cause(&pair, Cause::MemoryPressure, text, || write(greedy));
    let observed = diagnosed.diagnosis.evidence.iter().find(|one| one.text.contains(text));
    assert_eq!(observed.map(|one| one.certainty), Some(Certainty::Observed), "{diagnosed:#?}");
    names_this_process(&diagnosed);
}

#[test]
fn orphans_above_their_limit_are_reset() {
    if !running::is_ours("orphans_above_their_limit_are_reset") {
        return;
    }
    let _alone = alone();
    let pair = watch::pair();
    let _limit = Setting::limit(MAX_ORPHANS, "4");
    let meter = Meter::new(&pair.client);
    let mut servers = Vec::new();
    // The kernel counts its orphans every 100 ms (`tcp_orphan_update`).
    let diagnosed = cause(&pair, Cause::TooManyOrphans, "of 4 (tcp_max_orphans)", || {
        let Connection { client, server, listener, .. } = sender(&pair);
        write(&client);
        drop(client);
        // An orphan's peer has to live; that of one which was reset need not keep what it received.
        servers.push((server, listener));
        servers.retain(|(server, _)| tcp::state(server) != tcp::CLOSE);
    });
    evidence(&diagnosed);
    assert!(meter.get("TcpExtTCPAbortOnMemory") > 0);
    let memory = watch().tcp_memory();
    assert_eq!(memory.max_orphans, 4);
    // The kernel limits the rate of its log lines: how many of them there are says nothing.
    assert!(memory.log.is_some(), "root may read the log");
}
