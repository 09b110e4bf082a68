//! The agent's source inside this process: one for all tests, its events separated by network namespace.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread;

use agent::pipeline::{Pipeline, Sink};
use agent::schema::Gap;
use agent_correlate::observed::Observed;
use agent_diagnose::Diagnosed;
use agent_diagnose::{Story, diagnose};
use agent_model::counters::Counters as _;
use agent_model::decode::decode;
use agent_model::event::{Detail, Event, Fact, HostFacts, KernelEvent, RetransmitKind, SockHeld, TcpMemory};
use agent_model::frame::Frame;
use agent_model::limits::Limits;
use agent_model::signals::Retransmit;
use agent_source::kernel;
use agent_source::kernel::probes::ProbeState;
use agent_source::kernel::ring::Ring;
use agent_source::kernel::{Counters, Options, facts};
use tests::link::{Family, Pair};
use tests::netns::Netns;
use tests::witness::Witnesses;
use tests::{live, wait};
use tokio::sync::{mpsc, oneshot};

/// Keeps what is said of connections.
#[derive(Debug, Default)]
struct Diagnoses(Vec<Arc<Diagnosed>>);

impl Sink for Diagnoses {
    fn observed(&mut self, _: Arc<Observed>) {}

    fn diagnosed(&mut self, diagnosed: Arc<Diagnosed>) {
        self.0.push(diagnosed);
    }

    fn gap(&mut self, _: Arc<Gap>) {}
}

/// Everything read so far.
#[derive(Debug)]
struct Seen {
    /// The production path.
    pipeline: Pipeline<Diagnoses>,
    /// By the inode of their namespace.
    events: BTreeMap<u64, Vec<KernelEvent>>,
    /// When a namespace began: its inode was another's before, perhaps of a test that runs beside this.
    births: BTreeMap<u64, u64>,
    /// Records read.
    count: u64,
    stacks: BTreeMap<i32, Vec<Box<str>>>,
}

/// Asks the reader for a walk over all open files.
type Walk = oneshot::Sender<Vec<Event>>;

/// A reader of the live kernel.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    counters: Mutex<Counters>,
    host: HostFacts,
    walks: mpsc::UnboundedSender<Walk>,
}

/// The one of this process; the first call loads the programs, for good or ill.
pub fn watch() -> &'static Watch {
    static WATCH: OnceLock<Result<Watch, String>> = OnceLock::new();
    WATCH.get_or_init(Watch::start).as_ref().unwrap_or_else(|error| panic!("{error}"))
}

/// Two hosts under watch.
pub fn pair() -> Pair {
    watch().since_now(Pair::new)
}

/// The same without tail loss probes.
pub fn pair_without_probes() -> Pair {
    watch().since_now(Pair::without_probes)
}

/// Tests both families at the same time; what the kernel is seen to have run no program for proves nothing
/// ([`Witnesses::insist`]).
pub fn each(test: impl Fn(Family) + Sync) {
    static WITNESSES: OnceLock<Witnesses> = OnceLock::new();
    let witnesses = WITNESSES.get_or_init(|| {
        watch();
        Witnesses::of(&[std::process::id()])
    });
    Family::each(|family| witnesses.insist(&live::name(), || test(family)));
}

impl Watch {
    fn start() -> Result<Self, String> {
        let seen = Arc::new(Mutex::new(Seen::new()));
        let (walks, orders) = mpsc::unbounded_channel();
        let (started, loaded) = std::sync::mpsc::channel();
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("make a runtime").block_on(async {
                match kernel::load(&Options::default()) {
                    Ok((ring, counters)) => {
                        started.send(Ok((counters, ring.host().clone()))).expect("a test waits for this");
                        read(ring, &shared, orders).await;
                    }
                    Err(error) => started.send(Err(format!("{error:#?}"))).expect("a test waits for this"),
                }
            });
        });
        let (counters, host) = loaded.recv().expect("the reader to load the programs")?;
        Ok(Self { seen, counters: Mutex::new(counters), host, walks })
    }

    fn since_now(&self, make: impl FnOnce() -> Pair) -> Pair {
        let pair = make();
        let now = facts::monotonic().expect("read the clock");
        self.seen().births.extend([&pair.client, &pair.server].map(|host| (host.inode(), now)));
        pair
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("the reader did not panic")
    }

    /// The maps and what became of each probe.
    pub fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().expect("no test panicked with the counters")
    }

    /// Whether the probe with this word is attached.
    pub fn is_up(&self, word: &str) -> bool {
        let counters = self.counters();
        counters.probes.iter().any(|status| status.probe.name == word && status.state == ProbeState::Up)
    }

    /// The events of a namespace so far.
    pub fn events(&self, netns: &Netns) -> Vec<KernelEvent> {
        self.seen().of(netns).cloned().collect()
    }

    /// All events of a namespace, once those under way have arrived.
    pub fn settled(&self, netns: &Netns) -> Vec<KernelEvent> {
        let written: u64 =
            self.counters().health().expect("read HEALTH").iter().map(|health| health.written).sum();
        wait::until("what was written to be read", || self.seen().count >= written);
        self.events(netns)
    }

    /// Waits for an event of the namespace of which `find` makes something.
    pub fn some<T>(&self, netns: &Netns, what: &str, find: impl Fn(&KernelEvent) -> Option<T>) -> T {
        wait::some(what, || self.seen().of(netns).find_map(&find))
    }

    /// Something said so far of a connection of the namespace of which `find` makes something.
    pub fn said<T>(&self, netns: &Netns, find: impl Fn(&Diagnosed) -> Option<T>) -> Option<T> {
        let mut seen = self.seen();
        seen.pipeline.settle(u64::MAX);
        // Another namespace may have had the number before.
        let birth = seen.births.get(&netns.inode()).copied().unwrap_or_default();
        let diagnoses = seen.pipeline.sink_mut().0.iter().filter(|one| one.diagnosis.time >= birth);
        diagnoses.filter(|one| u64::from(one.netns) == netns.inode()).find_map(|one| find(one))
    }

    /// What is to be said of the same connection after a walk over open files; `None` on a kernel without.
    pub fn said_after_walk(&self, diagnosed: &Diagnosed) -> Option<Diagnosed> {
        if !self.has("sock_held") {
            return None;
        }
        self.walk();
        let seen = self.seen();
        let correlator = seen.pipeline.correlator();
        let id = diagnosed.diagnosis.connection.expect("a connection");
        let connection = correlator.connection_by_id(id).expect("it is remembered");
        let diagnosis = diagnose(&Story::of(correlator, connection, diagnosed.diagnosis.phase));
        Some(Diagnosed { diagnosis: diagnosis.expect("a cause still"), ..diagnosed.clone() })
    }

    /// TCP's memory as it was reported last.
    pub fn tcp_memory(&self) -> TcpMemory {
        self.seen().pipeline.correlator().tcp_memory().expect("a kernel that shows it").clone()
    }

    /// The facts about the host.
    pub fn host(&self) -> &HostFacts {
        &self.host
    }

    /// The kernel's word for why a reset was sent.
    pub fn reason(&self, number: i32) -> Box<str> {
        self.host().reset_reasons.get(&number).expect("a reason that BTF names").clone()
    }

    /// Other resets that were sent in the same tick, on the whole host.
    pub fn resets_beside(&self, event: &KernelEvent) -> usize {
        let tick = 1_000_000_000 / u64::from(self.host().hz);
        let seen = self.seen();
        let resets =
            seen.events.values().flatten().filter(|other| matches!(other.detail, Detail::ResetSent(_)));
        resets.filter(|other| other.time.abs_diff(event.time) <= tick).count() - 1
    }

    /// Waits for the functions of a stack.
    pub fn stack(&self, id: i32) -> Vec<Box<str>> {
        wait::some("the names of a stack", || self.seen().stacks.get(&id).cloned())
    }

    /// Who holds which TCP socket open now.
    pub fn walk(&self) -> Vec<SockHeld> {
        self.walk_events().into_iter().filter_map(held).collect()
    }

    /// The same with the facts that end it.
    pub fn walk_events(&self) -> Vec<Event> {
        // The reader walks at most once a second, and a walk that it leaves out ends in nothing.
        wait::some("a walk over all open files", || {
            let (reply, answer) = oneshot::channel();
            self.walks.send(reply).expect("the reader runs");
            Some(answer.blocking_recv().expect("the reader runs")).filter(|found| !found.is_empty())
        })
    }

    /// Whether a probe is up.
    pub fn has(&self, probe: &str) -> bool {
        use agent_source::kernel::probes::ProbeState;
        let counters = self.counters();
        counters.probes.iter().any(|status| status.probe.name == probe && status.state == ProbeState::Up)
    }
}

async fn read(mut ring: Ring, seen: &Mutex<Seen>, mut orders: mpsc::UnboundedReceiver<Walk>) {
    let mut frames = Vec::new();
    ring.append_first(&mut frames).expect("ask the host");
    loop {
        let mut asked = None;
        tokio::select! {
            result = ring.next(&mut frames) => result.expect("read the ring"),
            Some(reply) = orders.recv() => {
                let mut walked = Vec::new();
                if let Some(mut walk) = ring.begin_walk().expect("begin a walk") {
                    while walk.next(&mut walked).expect("walk over all open files") {}
                    ring.end_walk(&walk, &mut walked).expect("end the walk");
                }
                asked = Some((reply, walked.iter().map(event).collect()));
                frames.append(&mut walked);
            }
        }
        let mut seen = seen.lock().expect("no test panicked with what was read");
        for frame in frames.drain(..) {
            seen.pipeline.push(&frame);
            seen.take(event(&frame));
        }
        if let Some((reply, found)) = asked {
            // Now that the pipeline knows it too. Who asked may have given up.
            let _ = reply.send(found);
        }
    }
}

fn event(frame: &Frame) -> Event {
    decode(frame).unwrap_or_else(|error| panic!("{frame:?}: {error}"))
}

fn held(event: Event) -> Option<SockHeld> {
    if let Event::SockHeld(held) = event { Some(*held) } else { None }
}

impl Seen {
    fn new() -> Self {
        Self {
            pipeline: Pipeline::new(Limits::default(), Diagnoses::default()),
            events: BTreeMap::new(),
            births: BTreeMap::new(),
            count: 0,
            stacks: BTreeMap::new(),
        }
    }

    fn of(&self, netns: &Netns) -> impl Iterator<Item = &KernelEvent> {
        let birth = self.births.get(&netns.inode()).copied().unwrap_or_default();
        self.events.get(&netns.inode()).into_iter().flatten().filter(move |event| event.time >= birth)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Kernel(event) => {
                self.count += 1;
                self.events.entry(event.endpoint.netns.into()).or_default().push(*event);
            }
            Event::Fact(Fact::Stack { id, frames }) => drop(self.stacks.insert(id, frames)),
            Event::Fact(_) | Event::SockHeld(_) => (),
        }
    }
}

/// Kind of a retransmission.
pub fn kind(event: &KernelEvent) -> Option<RetransmitKind> {
    if let Detail::Retransmit(Retransmit { kind, .. }) = event.detail { Some(kind) } else { None }
}
