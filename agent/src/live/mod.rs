//! The live agent: the kernel joined to the pipeline, and to a recording if one is made. All of it runs on one
//! thread, which may wait for /proc and for open files; nobody who is served runs there ([`PipelineThread`]).

mod heap;
mod holds;
mod losses;
mod recording;
mod setback;
mod shared;
mod thread;
mod walks;

use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_model::event::Fact;
use agent_model::frame::Frame;
use agent_source::kernel::ring::{Ring, WALK_INTERVAL};
use agent_source::kernel::{Counters, facts};
use agent_source::names::Names;
use anyhow::Context as _;
use parking_lot::MutexGuard;
use tokio::time::{sleep, timeout};

use self::losses::Losses;
pub use self::recording::Tap;
use self::setback::Setback;
pub use self::shared::Shared;
pub use self::thread::PipelineThread;

/// [`WALK_INTERVAL`] in ns.
const WALK_PAUSE: u64 = WALK_INTERVAL.as_nanos() as u64;

/// Stalls without any event, above all those of a window shut before anything was in flight, are looked for
/// this often, ns.
const PATROL: u64 = 30_000_000_000;

/// Events younger than this, ns, may not have been read yet.
const IN_THE_RING: u64 = 50_000_000;

/// Frames that the pipeline takes before it answers questions: a few milliseconds' work.
const PIECE: usize = 256;

/// At the end, records that the kernel side wrote and woke nobody for are waited for this long.
const LAST_RECORDS: Duration = Duration::from_millis(50);

/// At the end, what the kernel goes on to write is read for this long.
const LAST_DRAIN: Duration = Duration::from_secs(1);

/// The source and where it flows to.
pub struct Live {
    ring: Ring,
    names: Names,
    shared: Shared,
    losses: Losses,
    tap: Option<Tap>,
    /// Facts that name; handed on before the records that came meanwhile.
    ahead: Vec<Frame>,
    frames: Vec<Frame>,
    /// When the last walk ended, ns of `CLOCK_MONOTONIC`.
    walked: u64,
    /// When memory was last given back, likewise.
    given_back: u64,
    /// Somebody asked for another since.
    asked: bool,
    /// Of walks.
    setback: Setback,
}

impl Live {
    /// Everything that goes into the pipeline goes to the tap too, in the same order.
    pub fn new(ring: Ring, names: Names, counters: Arc<Counters>, shared: Shared, tap: Option<Tap>) -> Self {
        let (losses, ahead, frames) = (Losses::new(counters), Vec::new(), Vec::new());
        let (walked, given_back, asked, setback) = (0, 0, false, Setback::default());
        Self { ring, names, shared, losses, tap, ahead, frames, walked, given_back, asked, setback }
    }

    /// Feeds the pipeline until `stop`, or until the kernel can be read no more. An idle host wakes it
    /// for its patrol only.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        self.begin()?;
        tokio::pin!(stop);
        loop {
            // Losing a race loses nothing: `next` is cancel safe.
            tokio::select! {
                () = &mut stop => return self.end().await,
                () = self.names.next(&mut self.ahead) => (),
                result = self.ring.next(&mut self.frames) => result.context("read the ring")?,
                () = pause(&self.shared, self.walked, self.asked, self.losses.due())? => (),
                () = self.shared.walks().asked() => self.asked = true,
                () = tick(self.tap.as_ref()) => self.append_counters(),
            }
            self.put_names_ahead();
            let now = facts::monotonic()?;
            self.losses.append_due(now, &mut self.frames);
            self.push()?;
            self.settle(now)?;
            if self.wants_walk()? {
                self.try_walk()?;
            }
        }
    }

    /// What must come first; then listeners, stalls and holders from before the start.
    fn begin(&mut self) -> anyhow::Result<()> {
        heap::keep_large_apart();
        self.ring.append_first(&mut self.frames).context("ask the host")?;
        self.names.append_first(&mut self.frames);
        let limits = self.shared.lock().correlator().limits();
        self.append(Fact::Limits(limits));
        self.walk()
    }

    /// A new container's cgroup is known before its first event.
    fn put_names_ahead(&mut self) {
        self.names.ready(&mut self.ahead);
        self.ahead.append(&mut self.frames);
        std::mem::swap(&mut self.ahead, &mut self.frames);
    }

    /// Hands on what has come, and what comes meanwhile: the pipeline takes longer over a record than a storm
    /// takes to fill the ring's room for it. Between two pieces, whoever asks the pipeline has an answer.
    fn push(&mut self) -> anyhow::Result<()> {
        if self.frames.is_empty() {
            return Ok(());
        }
        let mut done = 0;
        while done < self.frames.len() {
            let piece = &self.frames[done..self.frames.len().min(done + PIECE)];
            done += piece.len();
            let mut pipeline = self.shared.lock();
            for frame in piece {
                pipeline.push(frame);
            }
            // To who waits: the next piece would else be quicker than any of them.
            MutexGuard::unlock_fair(pipeline);
            self.take_more();
        }
        // However they came: by waiting for them, or meanwhile.
        self.losses.note(facts::monotonic()?);
        match &mut self.tap {
            Some(tap) => tap.take(std::mem::take(&mut self.frames)),
            None => self.frames.clear(),
        }
        Ok(())
    }

    /// Appends what is in the ring by now, after the names that it needs.
    fn take_more(&mut self) {
        let first = self.frames.len();
        self.ring.drain(&mut self.frames);
        self.names.ready(&mut self.ahead);
        self.frames.splice(first..first, self.ahead.drain(..));
    }

    fn append(&mut self, fact: Fact) {
        self.frames.push(Frame::fact(fact));
    }

    /// Only as a fact of the stream, so that a replay judges at the same place.
    fn settle(&mut self, now: u64) -> anyhow::Result<()> {
        if settle_due(&self.shared).is_some_and(|due| due <= now) {
            self.append(Fact::Settle { time: now.saturating_sub(IN_THE_RING) });
            self.push()?;
        }
        Ok(())
    }

    fn wants_walk(&self) -> anyhow::Result<bool> {
        Ok(next_walk(&self.shared, self.walked, self.asked) <= facts::monotonic()?)
    }

    /// A walk that fails for want of descriptors or memory is tried again when the next one is due.
    fn try_walk(&mut self) -> anyhow::Result<()> {
        let walk = self.walk();
        self.setback.note(walk);
        self.walked = facts::monotonic()?;
        Ok(())
    }

    /// The ring is read on meanwhile: a storm fills it sooner than a walk over 100,000 sockets ends.
    fn walk(&mut self) -> anyhow::Result<()> {
        let (failed, began) = ("walk over the open files", facts::monotonic()?);
        self.asked = false;
        if let Some(mut walk) = self.ring.begin_walk().context(failed)? {
            let mut rows = Vec::new();
            while walk.next(&mut rows).context(failed)? {
                // What a socket did before the walk came by is in the stream before the walk's row.
                self.ring.read(&mut self.frames).context("read the clock")?;
                self.frames.append(&mut rows);
                self.push()?;
            }
            self.ring.end_walk(&walk, &mut self.frames).context(failed)?;
            self.push()?;
        }
        self.shared.walks().done(began);
        self.walked = facts::monotonic()?;
        if self.walked >= self.given_back + PATROL {
            self.given_back = self.walked;
            heap::give_back();
        }
        Ok(())
    }

    fn append_counters(&mut self) {
        if let Some(tap) = &mut self.tap {
            tap.append_due(&mut self.frames);
        }
    }

    /// What is under way when the end comes.
    async fn end(mut self) -> anyhow::Result<()> {
        let until = Instant::now() + LAST_DRAIN;
        while Instant::now() < until
            && let Ok(result) = timeout(LAST_RECORDS, self.ring.next(&mut self.frames)).await
        {
            result.context("read the ring")?;
            self.push()?;
        }
        self.append(Fact::Settle { time: u64::MAX });
        self.losses.append_all(&mut self.frames)?;
        if let Some(tap) = &mut self.tap {
            tap.append_all(&mut self.frames)?;
        }
        self.push()?;
        self.shared.log_holds();
        Ok(())
    }
}

/// When the first of what waits to be judged can be, ns of `CLOCK_MONOTONIC`.
fn settle_due(shared: &Shared) -> Option<u64> {
    shared.lock().tracker().due().map(|due| due.saturating_add(IN_THE_RING))
}

/// When the next walk over open files is due, ns of `CLOCK_MONOTONIC`: when it would show something new, and
/// now and then in any case.
fn next_walk(shared: &Shared, walked: u64, asked: bool) -> u64 {
    let patrol = walked + PATROL;
    let due = if asked { Some(walked) } else { shared.lock().correlator().walk_due() };
    due.map_or(patrol, |due| due.max(walked + WALK_PAUSE).min(patrol))
}

/// Ends when there is something to do though no record came: a death to judge, a walk over open files, or the
/// kernel side to be asked what it lost.
fn pause(
    shared: &Shared,
    walked: u64,
    asked: bool,
    losses: Option<u64>,
) -> anyhow::Result<impl Future<Output = ()> + use<>> {
    let now = facts::monotonic()?;
    let due = [settle_due(shared), losses].into_iter().flatten();
    let next = due.fold(next_walk(shared, walked, asked), u64::min);
    Ok(sleep(Duration::from_nanos(next.saturating_sub(now))))
}

/// Ends when the counters are due; never without a tap.
async fn tick(tap: Option<&Tap>) {
    match tap {
        Some(tap) => tap.tick().await,
        None => std::future::pending().await,
    }
}
