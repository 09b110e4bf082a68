//! When to ask for a cause: at a death, at each timeout of a stall, at its recovery; and what is counted of it.
//!
//! A received RST is not judged at once. If the other end lives on this host, the event of its own reset comes later
//! than that of the reset it caused here. And the RST may not have been received at all (docs/kernel.md, "Resets that
//! were received and resets that were not"). Such deaths wait for [`RESET_GRACE`] of the events' own clock.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use agent_correlate::Correlator;
use agent_correlate::connection::Connection;
use agent_correlate::identity::Identity;
use agent_correlate::observed::{ConnectionId, Observed};
use agent_correlate::place::{Places, Whose};
use agent_correlate::timeline::What;
use agent_model::cause::Cause;
use agent_model::event::{Detail, Endpoint, Fact, RetransmitKind};
use agent_model::limits::{MAX_PENDING, RESET_GRACE};
use agent_model::signals::Retransmit;
use agent_model::timers::Moment;
use agent_model::timers::clock::Window;

use self::drops::is_drop_on_the_way;
use super::fates::{Fate, Fates, Group};
use super::outcomes::{Outcomes, Start};
use super::stats::Stats;
use super::story::Sight;
use super::{Diagnosis, Phase, Story, diagnose};

mod drops;
mod shortage;

/// Stalls followed at a time. Those beyond are diagnosed, but neither counted nor their deadline checked.
const STALLS: usize = 50_000;

/// A diagnosis, and the event if it has no connection.
type Verdict = (Diagnosis, Option<Arc<Observed>>);

/// Follows connections from stall to end.
#[derive(Debug, Default)]
pub struct Tracker {
    stalls: HashMap<ConnectionId, Stall>,
    pending: VecDeque<Pending>,
    /// When it was last said, or is about to be, that this host drops packets of a connection.
    dropped: HashMap<ConnectionId, u64>,
    /// Connections of which it was said, or is about to be, that TCP as a whole is out of memory.
    out_of_memory: HashSet<ConnectionId>,
    fates: Fates,
    stats: Stats,
    outcomes: Outcomes,
}

/// A stall that is going on.
#[derive(Clone, Copy, Debug)]
pub struct Stall {
    /// When it was first seen, ns of `CLOCK_MONOTONIC`.
    pub since: u64,
    /// Consecutive timeouts or probes without an answer.
    pub stage: u32,
    /// When the kernel will give up, if it will.
    pub death: Option<Window>,
    /// The cause of its newest diagnosis.
    pub cause: Option<Cause>,
    sight: Sight,
    start: Start,
}

/// A verdict that waits for further events.
#[derive(Debug)]
struct Pending {
    due: u64,
    of: Subject,
}

#[derive(Debug)]
enum Subject {
    Connection(ConnectionId, Group),
    /// Packets of it are dropped on this host: what was said to have dropped them may yet end it.
    Drop(ConnectionId),
    /// It runs short of memory: meanwhile a walk over open files finds who has the memory.
    Shortage(ConnectionId),
    Stray(Arc<Observed>),
}

impl Tracker {
    /// What was counted.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// When the first of what waits is to be judged, ns of `CLOCK_MONOTONIC`.
    pub fn due(&self) -> Option<u64> {
        self.pending.front().map(|first| first.due)
    }

    /// How past stalls ended.
    pub fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    /// When a stalled connection's socket was read, and at which point of the kernel's work.
    pub fn sight(&self, id: ConnectionId) -> Option<Sight> {
        self.stalls.get(&id).map(|stall| stall.sight)
    }

    /// The stalls that go on, in no order.
    pub fn stalls(&self) -> impl Iterator<Item = (ConnectionId, &Stall)> {
        self.stalls.iter().map(|(id, stall)| (*id, stall))
    }

    /// Judges what waited until `now`, ns of `CLOCK_MONOTONIC`.
    pub fn settle(&mut self, correlator: &mut Correlator, now: u64) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        while self.pending.front().is_some_and(|first| first.due <= now || self.pending.len() > MAX_PENDING) {
            let Some(pending) = self.pending.pop_front() else { break };
            verdicts.extend(self.judge(correlator, pending));
        }
        verdicts
    }

    fn judge(&mut self, correlator: &mut Correlator, pending: Pending) -> Option<Verdict> {
        match pending.of {
            Subject::Connection(id, group) => {
                self.death(correlator, id, group).map(|diagnosis| (diagnosis, None))
            }
            Subject::Drop(id) => self.of_drop(correlator, id).map(|diagnosis| (diagnosis, None)),
            Subject::Shortage(id) => self.shortage(correlator, id).map(|diagnosis| (diagnosis, None)),
            Subject::Stray(observed) => {
                self.stray(correlator, &observed).map(|diagnosis| (diagnosis, Some(observed)))
            }
        }
    }

    /// Follows a kernel event, which correlation has taken in.
    pub fn follow(&mut self, correlator: &mut Correlator, observed: &Arc<Observed>) -> Vec<Diagnosis> {
        if is_drop_on_the_way(observed, correlator.host()) {
            self.follow_drop(observed);
            if observed
                .connection
                .and_then(|id| correlator.connection_by_id(id))
                .is_some_and(|it| !it.is_live())
            {
                return Vec::new();
            }
        }
        let Some(id) = observed.connection else { return self.follow_stray(correlator, observed) };
        let ended = correlator.connection_by_id(id).is_some_and(|known| known.died().is_some());
        let group = Group::of(&observed.event);
        if !ended {
            self.count(group, None);
            return self.follow_living(correlator, id, observed).into_iter().collect();
        }
        if matches!(observed.event.detail, Detail::ResetReceived(_)) {
            self.hold(Subject::Connection(id, group), observed.event.time);
            return Vec::new();
        }
        self.death(correlator, id, group).into_iter().collect()
    }

    fn hold(&mut self, of: Subject, time: u64) {
        self.pending.push_back(Pending { due: time.saturating_add(RESET_GRACE), of });
    }

    fn follow_stray(&mut self, correlator: &Correlator, observed: &Arc<Observed>) -> Vec<Diagnosis> {
        match observed.event.detail {
            Detail::ResetSent(_) => {
                self.hold(Subject::Stray(Arc::clone(observed)), observed.event.time);
                Vec::new()
            }
            Detail::PacketDropped(_) if is_drop_on_the_way(observed, correlator.host()) => Vec::new(),
            Detail::SynackRetransmit(_) | Detail::PacketDropped(_) => {
                self.stray(correlator, observed).into_iter().collect()
            }
            Detail::Retransmit(_)
            | Detail::ResetReceived(_)
            | Detail::BufLimitExceeded(_)
            | Detail::RcvqueueFull(_)
            | Detail::StateChanged(_)
            | Detail::SockDestroyed(_) => Vec::new(),
        }
    }

    /// If the client of a refused connect() lives on this host, the diagnosis is the client's, whose process is known.
    /// A death that the client's own events report is not counted again.
    fn stray(&mut self, correlator: &Correlator, observed: &Observed) -> Option<Diagnosis> {
        let story = Story::of_stray(correlator, observed);
        let client_reports = story.peer.is_some_and(|peer| peer.error != 0);
        let refused = |diagnosis: &Diagnosis| diagnosis.cause == Cause::ConnectionRefused;
        let diagnosis = diagnose(&story).filter(|diagnosis| !(client_reports && refused(diagnosis)));
        let died = diagnosis.as_ref().filter(|known| known.phase == Phase::Died && !client_reports);
        let Endpoint { cgroup, netns, .. } = observed.event.endpoint;
        let fate = died.map(|known| Fate { cause: known.cause, cgroup: cgroup.unwrap_or(0), netns });
        let group = Group::of(&observed.event);
        self.count(group, fate);
        if let Some(Fate { cause, .. }) = fate {
            self.outcomes.failed(netns, cause, group.times.into());
        }
        diagnosis.map(|known| Diagnosis { stands_for: group.times, ..known })
    }

    fn death(&mut self, correlator: &mut Correlator, id: ConnectionId, group: Group) -> Option<Diagnosis> {
        let connection = correlator.connection_by_id(id)?;
        let (died, is_judged) = (connection.died()?, connection.verdict.is_some());
        let stall = self.end(connection, died);
        let mut story = Story::of(correlator, connection, Phase::Died);
        story.known_cause = story.known_cause.or(stall.and_then(|stall| stall.cause));
        let diagnosis = diagnose(&story).filter(|_| !is_judged);
        let Identity { cgroup, netns, .. } = connection.identity;
        let counted = diagnosis.as_ref().filter(|_| !is_twin(correlator, connection));
        let fate =
            counted.map(|known| Fate { cause: known.cause, cgroup: cgroup.map_or(0, Into::into), netns });
        self.count(group, fate);
        let diagnosis = diagnosis?;
        correlator.judge(id, diagnosis.cause);
        if fate.is_some() {
            self.learn(correlator, id, diagnosis.cause, stall);
        }
        Some(Diagnosis { stands_for: group.times, ..diagnosis })
    }

    /// Counts the fate of an event, and of those that it stands for.
    fn count(&mut self, group: Group, fate: Option<Fate>) {
        self.fates.note(group, fate);
        if let Some(Fate { cause, cgroup, netns }) = fate {
            self.stats.died(cause, group.times.into(), cgroup, netns);
        }
    }

    /// Counts the deaths of which only the number is reported.
    pub fn follow_fact(&mut self, fact: &Fact) {
        if let Some((Fate { cause, cgroup, netns }, times)) = self.fates.fate(fact) {
            self.stats.died(cause, times, cgroup, netns);
        }
    }

    fn learn(&mut self, correlator: &Correlator, id: ConnectionId, cause: Cause, stall: Option<Stall>) {
        let stall = stall.map(|stall| (stall.start, stall.since, stall.stage));
        if let Some(connection) = correlator.connection_by_id(id) {
            self.outcomes.died(connection, cause, stall, correlator.host().hz);
        }
    }

    /// The stall that the death ends.
    fn end(&mut self, connection: &Connection, died: u64) -> Option<Stall> {
        let stall = self.stalls.remove(&connection.id)?;
        self.stats.unstall(stall.stage);
        self.stats.stalled_for(Duration::from_nanos(died.saturating_sub(stall.since)));
        if let Some(window) = stall.death.filter(|_| is_by_timer(connection)) {
            self.stats.predicted(window, died);
        }
        Some(stall)
    }

    fn follow_living(
        &mut self,
        correlator: &Correlator,
        id: ConnectionId,
        observed: &Observed,
    ) -> Option<Diagnosis> {
        let connection = correlator.connection_by_id(id)?;
        // Of a window that is shut too: memory is refused to who fills his buffer meanwhile.
        self.follow_shortage(correlator, connection, observed);
        if !connection.is_stalled() {
            return self.recover(correlator, id, observed.event.time);
        }
        let sight = Sight { time: observed.event.time, moment: moment(&observed.event.detail) };
        observed.event.tcp.as_ref()?;
        let story = self.stall(correlator, connection, sight);
        is_timeout(observed).then_some(())?;
        if let Some(rto) = observed.rto {
            self.stats.timed_out(rto);
        }
        self.say(id, &story)
    }

    /// Takes in the finding of a walk over open files.
    pub fn follow_holder(
        &mut self,
        correlator: &Correlator,
        id: ConnectionId,
        time: u64,
    ) -> Option<Diagnosis> {
        let connection = correlator.connection_by_id(id)?;
        if !connection.is_stalled() {
            return self.recover(correlator, id, time);
        }
        let known = self.stalls.contains_key(&id);
        let story = self.stall(correlator, connection, Sight { time, moment: Moment::Rest });
        self.say(id, &story).filter(|_| !known)
    }

    /// Diagnoses a stalled connection and keeps the cause.
    fn say(&mut self, id: ConnectionId, story: &Story) -> Option<Diagnosis> {
        let diagnosis = diagnose(story);
        if let Some(stall) = self.stalls.get_mut(&id) {
            stall.cause = diagnosis.as_ref().map(|diagnosis| diagnosis.cause);
        }
        diagnosis
    }

    /// A stall begins or goes on.
    fn stall<'a>(
        &mut self,
        correlator: &'a Correlator,
        connection: &'a Connection,
        sight: Sight,
    ) -> Story<'a> {
        let story = Story::of(correlator, connection, Phase::Stalled).at(sight);
        let death = story.outlook.and_then(|outlook| outlook.death);
        if let Some(tcp) = story.tcp() {
            let stage = u32::from(tcp.raw.retransmits.max(tcp.raw.probes_out).max(tcp.raw.backoff));
            let start = Start::of(connection, tcp, correlator.host().hz);
            self.note(connection.id, Stall { since: sight.time, stage, death, cause: None, sight, start });
        }
        story
    }

    fn note(&mut self, id: ConnectionId, new: Stall) {
        if let Some(known) = self.stalls.get_mut(&id) {
            self.stats.unstall(known.stage);
            *known = Stall { since: known.since, cause: known.cause, start: known.start, ..new };
        } else if self.stalls.len() < STALLS {
            self.stalls.insert(id, new);
        } else {
            return;
        }
        self.stats.stall(new.stage);
    }

    fn recover(&mut self, correlator: &Correlator, id: ConnectionId, time: u64) -> Option<Diagnosis> {
        let stall = self.stalls.remove(&id)?;
        self.stats.unstall(stall.stage);
        self.stats.recovered(stall.stage, Duration::from_nanos(time.saturating_sub(stall.since)));
        let connection = correlator.connection_by_id(id)?;
        self.outcomes.recovered(connection, &stall.start, stall.stage, correlator.host().hz);
        let mut story = Story::of(correlator, connection, Phase::Recovered);
        story.time = time;
        diagnose(&story)
    }

    /// Forgets what was counted of places that are gone.
    pub fn forget_gone(&mut self, places: &Places) {
        let lives = |cgroup, netns| places.whose(cgroup, netns) != Whose::Gone;
        self.stats.retain(lives);
        self.fates.retain(lives);
    }

    /// Forgets stalls of connections that are remembered no more.
    pub fn prune(&mut self, correlator: &Correlator) {
        let lives = |id: &ConnectionId| correlator.connection_by_id(*id).is_some_and(Connection::is_live);
        self.dropped.retain(|id, _| lives(id));
        self.out_of_memory.retain(lives);
        let stats = &mut self.stats;
        self.stalls.retain(|id, stall| {
            let lives = lives(id);
            if !lives {
                stats.unstall(stall.stage);
            }
            lives
        });
    }
}

/// A timer retransmitted; into a shut window it does so without counting a stage.
fn is_timeout(observed: &Observed) -> bool {
    observed.stage.is_some() || observed.event.signal().kind() == Some(RetransmitKind::Timeout)
}

/// Whether the other end, on this host, has reported the same death.
fn is_twin(correlator: &Correlator, connection: &Connection) -> bool {
    correlator.other_end(connection).is_some_and(|peer| peer.verdict.is_some())
}

/// A timer ended the connection, and nothing else did before.
fn is_by_timer(connection: &Connection) -> bool {
    connection.error != 0
        && connection.error != super::path::ECONNABORTED
        && !connection.timeline.iter().any(|entry| matches!(entry.what, What::ResetReceived(_)))
}

fn moment(detail: &Detail) -> Moment {
    let Detail::Retransmit(Retransmit { kind, err, .. }) = *detail else { return Moment::Recovery };
    match kind {
        RetransmitKind::Timeout | RetransmitKind::Syn if err == 1 => Moment::LocalDrop,
        RetransmitKind::Timeout | RetransmitKind::Syn => Moment::Timeout,
        RetransmitKind::TailLossProbe => Moment::LossProbe,
        RetransmitKind::Unknown
        | RetransmitKind::Fast
        | RetransmitKind::Reorder
        | RetransmitKind::SlowStart
        | RetransmitKind::Synack => Moment::Recovery,
    }
}
