//! Ten thousand connections that die within a second: each has a cause.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tests::actor::Actor;
use tests::agent::{Agent, command};
use tests::link::{Loss, Pair};
use tests::pod::Container;
use tests::skip::skip;
use tests::snmp::Meter;
use tests::wait;

/// As many as the history keeps.
const CONNECTIONS: u64 = 10_000;

/// What the resident memory may grow by, KiB: from 20 MiB idle to 64 MiB with 50,000 troubled connections. Of a
/// program that was not optimised the idle share is larger.
const BUDGET: u64 = (64 - 20) << 10;

/// One storm at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The agent, two hosts, and a cgroup of their own, by which its metrics separate theirs from the machine's.
struct Scene {
    agent: Agent,
    /// Its resident memory before, KiB.
    idle: u64,
    pair: Pair,
    container: Container,
}

impl Scene {
    fn new(test: &str, arguments: &[&str]) -> Option<Self> {
        let container = Container::new().map_err(|reason| skip(test, &reason)).ok()?;
        let (agent, pair) = (Agent::start(test, arguments), Pair::new());
        let [idle, _] = memory(&agent);
        Some(Self { agent, idle, pair, container })
    }

    /// A server is killed that has not read what its ten thousand clients sent.
    fn play(&self) -> Actor {
        let (pair, count) = (&self.pair, CONNECTIONS.to_string());
        let mut server = Actor::start_in(
            &pair.server,
            &self.container.procs(),
            &["accept-many", "198.51.100.2:0", &count],
        );
        let address = server.address("listening").to_string();
        let mut client =
            Actor::start_in(&pair.client, &self.container.procs(), &["connect-many", &address, &count]);
        client.answer("connected");
        server.answer("accepted");
        let resets = Meter::new(&pair.server);
        let start = Instant::now();
        server.kill();
        resets.reach("TcpOutRsts", CONNECTIONS);
        eprintln!("{CONNECTIONS} deaths in {:?}", start.elapsed());
        client
    }

    /// Deaths that have a cause: all, or one.
    fn deaths(&self, cause: Option<&str>) -> u64 {
        let labels = [Some(("pod", &*self.container.pod_uid)), cause.map(|cause| ("cause", cause))];
        let labels: Vec<_> = labels.into_iter().flatten().collect();
        self.agent.metrics().sum("tcpwhy_diagnoses_total", &labels).unwrap_or(0.0) as u64
    }

    /// Waits for a cause for each; records that the whole machine had no line for meanwhile.
    fn wait_for_all(&self) -> u64 {
        let start = Instant::now();
        wait::until("a cause for each", || self.deaths(None) >= CONNECTIONS);
        eprintln!("all reported {:?} later", start.elapsed());
        let metrics = self.agent.metrics();
        let of = |name, labels: &[_]| metrics.sum(name, labels).unwrap_or(0.0);
        let lost = of("tcpwhy_records_lost_total", &[("stage", "ring")]);
        let coalesced = of("tcpwhy_records_coalesced_total", &[]);
        eprintln!("{lost} records lost, {coalesced} coalesced, of the whole machine");
        (lost + coalesced) as u64
    }

    /// Asserts that it has not taken more memory than it may.
    fn assert_in_budget(&self) {
        let [now, most] = memory(&self.agent);
        eprintln!("resident: {} KiB idle, {now} KiB now, at most {most} KiB", self.idle);
        assert!(most - self.idle < BUDGET, "{} KiB, then {most} KiB", self.idle);
    }

    /// How long `tcpwhy why --last` takes.
    fn why(&self) -> Duration {
        let socket = self.agent.socket().to_str().expect("a path of plain text");
        let start = Instant::now();
        let output = command::run(&["why", "--last", "--socket", socket]);
        assert!(output.status.success(), "{output:?}");
        start.elapsed()
    }
}

/// KiB of the agent's memory that are resident, now and at most so far.
fn memory(agent: &Agent) -> [u64; 2] {
    let text = fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("read the agent's status");
    ["VmRSS:", "VmHWM:"].map(|name| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a number of memory");
        line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("KiB")
    })
}

/// The clients never learn of it: what dies is the server's alone.
#[test]
fn each_of_ten_thousand_deaths_has_a_cause() {
    let _alone = alone();
    let Some(scene) = Scene::new("each_of_ten_thousand_deaths_has_a_cause", &[]) else { return };
    scene.pair.client.drop_incoming(&Loss::resets());
    let _clients = scene.play();
    let asked = scene.why();
    scene.wait_for_all();
    eprintln!("why --last: {asked:?} then, {:?} now", scene.why());
    scene.assert_in_budget();
    assert_eq!(scene.deaths(Some("closed_with_unread_data")), CONNECTIONS);
    assert_eq!(scene.deaths(None), CONNECTIONS);
    assert!(asked < wait::PATIENCE, "{asked:?}");
}

/// The clients are reset: two ends each, which are one death. An end that has no line of its own finds no other end,
/// so each has one: no limit, and a ring that holds them all, however late the agent reads. Where the client's reset
/// is reported first, it may be counted as the client's.
#[test]
fn ten_thousand_deaths_of_which_both_ends_tell_are_counted_once() {
    let _alone = alone();
    let test = "ten_thousand_deaths_of_which_both_ends_tell_are_counted_once";
    let Some(scene) = Scene::new(test, &["--ring-size", "128M", "--storm-rate", "0"]) else { return };
    let _clients = scene.play();
    let asked = scene.why();
    let lineless = scene.wait_for_all();
    eprintln!("why --last: {asked:?} then, {:?} now", scene.why());
    assert_eq!(lineless, 0, "an end without a line");
    let closed = scene.deaths(Some("closed_with_unread_data"));
    assert!(closed > CONNECTIONS / 10 * 9, "{closed}");
    assert_eq!(closed + scene.deaths(Some("peer_reset")), CONNECTIONS);
    assert_eq!(scene.deaths(None), CONNECTIONS);
}

/// A ring that holds a hundred records, and limits that hardly send any: the others share the cause of the sample.
#[test]
fn deaths_that_are_coalesced_are_counted_one_by_one() {
    let _alone = alone();
    let limits = ["--ring-size", "64K", "--storm-rate", "50", "--storm-burst", "50"];
    let test = "deaths_that_are_coalesced_are_counted_one_by_one";
    let Some(scene) = Scene::new(test, &limits) else { return };
    scene.pair.client.drop_incoming(&Loss::resets());
    let _clients = scene.play();
    scene.wait_for_all();
    assert_eq!(scene.deaths(Some("closed_with_unread_data")), CONNECTIONS);
    assert_eq!(scene.deaths(None), CONNECTIONS);
}
