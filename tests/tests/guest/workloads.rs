//! More workloads than the kernel side's map of counters takes.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tests::agent::metrics::Metrics;
use tests::netns::Netns;
use tests::{pod, tcp, wait};

use crate::Alone;

/// Units and network namespaces; each unit has [`KEYS`] counters in each namespace, together more than the 4096
/// of the map.
const UNITS: usize = 64;
const NAMESPACES: usize = 16;
const KEYS: usize = 5;
const _: () = assert!(UNITS * NAMESPACES * KEYS > 4096 + 512);

/// From the removal of a cgroup to the end of its counters (`agent/src/source/cgroups.rs`), and some more.
const GRACE: Duration = Duration::from_secs(65);

/// A systemd unit that this process joins.
struct Unit {
    name: String,
    folder: PathBuf,
    root: PathBuf,
}

impl Unit {
    fn new(root: &Path, number: usize) -> Self {
        let name = format!("lab-{number}.service");
        let folder = root.join(&name);
        fs::create_dir(&folder).expect("make a cgroup");
        Self { name, folder, root: root.to_owned() }
    }

    fn join(&self) {
        fs::write(self.folder.join("cgroup.procs"), "0").expect("join a cgroup");
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        fs::write(self.root.join("cgroup.procs"), "0").expect("leave a cgroup");
        // Sockets keep it no longer than a moment.
        let until = Instant::now() + wait::PATIENCE;
        while fs::remove_dir(&self.folder).is_err() && Instant::now() < until {
            thread::yield_now();
        }
    }
}

/// A refusal, a listener's life, and a connection that one end aborts: [`KEYS`] counters of the unit, of which two
/// are of resets received.
fn trouble() {
    TcpStream::connect((Ipv4Addr::LOCALHOST, 1)).expect_err("nobody listens");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
    let client = TcpStream::connect(listener.local_addr().expect("its address")).expect("connect");
    let server = listener.accept().expect("accept").0;
    tcp::abort(client);
    tcp::death(&server);
}

/// Resets received that [`trouble`] causes.
const RESETS: usize = 2;

fn resets(metrics: &Metrics, labels: &[(&str, &str)]) -> usize {
    metrics.sum("tcpwhy_resets_received_total", labels).unwrap_or_default() as usize
}

fn of_unit(metrics: &Metrics, unit: &Unit) -> usize {
    resets(metrics, &[("unit", &unit.name)])
}

/// Counted under `other`, since the map was full.
fn lost(metrics: &Metrics) -> usize {
    metrics.count("tcpwhy_records_lost_total", &[("stage", "count"), ("signal", "reset_received")]) as usize
}

/// Trouble of each unit in each namespace.
fn crowd(root: &Path, namespaces: &[Netns]) -> Vec<Unit> {
    let units: Vec<_> = (0..UNITS).map(|number| Unit::new(root, number)).collect();
    for unit in &units {
        unit.join();
        for netns in namespaces {
            netns.run(trouble);
        }
    }
    units
}

#[test]
fn what_does_not_fit_the_map_is_counted_under_other_until_there_is_room() {
    let test = "what_does_not_fit_the_map_is_counted_under_other_until_there_is_room";
    // It takes two minutes.
    let Some(agent) = Alone::on(test, &["latest"]) else { return };
    let root = pod::root().expect("a guest has cgroup v2");
    let namespaces: Vec<_> = (0..NAMESPACES).map(|_| Netns::new()).collect();
    let units = crowd(&root, &namespaces);

    let metrics = agent.metrics();
    let (other, full) = (resets(&metrics, &[("pod", "other")]), lost(&metrics));
    assert!(other > 0, "the map was not full");
    assert_eq!(full, other, "what is not its workload's is reported");
    assert_eq!(of_unit(&metrics, &units[0]), NAMESPACES * RESETS, "who came first is exact");
    let own: usize = units.iter().map(|unit| of_unit(&metrics, unit)).sum();
    assert_eq!(own + other, UNITS * NAMESPACES * RESETS, "none is lost");
    units[0].join();
    namespaces[0].run(trouble);
    assert_eq!(of_unit(&agent.metrics(), &units[0]), (NAMESPACES + 1) * RESETS, "exact ever after");

    drop(units);
    thread::sleep(GRACE);
    wait::until("the counters of who is gone to end", || {
        agent.metrics().sum("tcpwhy_resets_received_total", &[("unit", "lab-0.service")]).is_none()
    });
    let unit = Unit::new(&root, UNITS);
    unit.join();
    namespaces[0].run(trouble);
    let metrics = agent.metrics();
    assert_eq!((of_unit(&metrics, &unit), lost(&metrics)), (RESETS, full), "there is room");
}
