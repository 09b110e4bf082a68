//! What to print, before it is printed.

use std::time::Duration;

use agent_model::timers::policy::{Limit, hypothetical_timeout};
use agent_model::timers::schedule::{
    Params, Schedule, Step, hypothetical, hypothetical_syn, keepalive, longest, retries2_within,
    rounded_schedule, schedule, synack,
};

use super::settings::Settings;
use super::{Time, Timeouts};

/// RFC 1122 §4.2.3.5: "the value of R2 SHOULD correspond to at least 100 seconds".
pub const RFC1122_R2: Duration = Duration::from_secs(100);

/// Everything asked for.
pub struct TimeoutsReport {
    /// What it is made from.
    pub settings: Settings,
    /// One a subject.
    pub parts: Vec<Part>,
    /// Whether curves are wanted.
    pub plot: bool,
}

/// One subject.
pub enum Part {
    /// Data in flight.
    Data(Life),
    /// A `connect()`.
    Syn(Life),
    /// A listener's half-open connection.
    Synack(Schedule),
    /// An idle connection.
    Keepalive(Schedule),
    /// The other way round.
    Within(Within),
}

impl Part {
    /// The schedules that it shows.
    pub fn schedules(&self) -> Vec<&Schedule> {
        match self {
            Self::Data(life) | Self::Syn(life) => life.lives.iter().map(|life| &life.exact).collect(),
            Self::Synack(schedule) | Self::Keepalive(schedule) => vec![schedule],
            Self::Within(_) => Vec::new(),
        }
    }
}

/// How retransmissions end.
pub struct Life {
    /// Whether the socket is closed.
    pub orphan: bool,
    /// What N is: a number of retransmissions that stands for a time.
    pub retries: u8,
    /// T(N).
    pub model: Duration,
    /// The steps T(N) is made of; a SYN's are not shown.
    pub model_steps: Vec<Step>,
    /// One for each end of the range of RTOs.
    pub lives: Vec<Rounded>,
}

/// A schedule, and when it ends with timers rounded.
pub struct Rounded {
    /// The first RTO.
    pub rto: Duration,
    /// On exact timers.
    pub exact: Schedule,
    /// The earliest and the latest end on the kernel's timer wheel.
    pub gives_up: (Duration, Duration),
}

/// Which `tcp_retries2` ends in time.
pub struct Within {
    /// The time to keep.
    pub time: Duration,
    /// The answer for any RTO of the range; `None` if none is short enough.
    pub retries2: Option<u8>,
    /// The answer for the shortest and the longest RTO alone, with the latest end.
    pub by_rto: Vec<(Duration, Option<(u8, Duration)>)>,
    /// The latest end for any RTO of the range.
    pub latest: Option<Duration>,
    /// The least that satisfies RFC 1122.
    pub rfc1122: u8,
}

impl TimeoutsReport {
    /// Works out what `args` ask for.
    pub fn new(args: &Timeouts, settings: Settings) -> Self {
        let mut parts = vec![];
        if let Some(Time(within)) = args.within {
            parts.push(Part::Within(Within::new(within, &settings)));
        }
        if asks_for_syn(args) {
            parts.push(Part::Syn(syn(&settings)));
        }
        if args.synack_retries.is_some() {
            parts.push(Part::Synack(synack(settings.synack_retries.value, settings.rto_max.value)));
        }
        if args.keepalive {
            parts.push(Part::Keepalive(idle(&settings)));
        }
        if parts.is_empty() || args.retries2.is_some() || args.orphan {
            parts.insert(0, Part::Data(data(&settings, args.orphan)));
        }
        Self { settings, parts, plot: args.plot }
    }
}

fn asks_for_syn(args: &Timeouts) -> bool {
    args.syn_retries.is_some() || args.syn_linear.is_some()
}

fn data(settings: &Settings, orphan: bool) -> Life {
    let (limit, retries) = if orphan {
        let retries = settings.orphan_retries.value;
        (Limit::Orphan { retries, soft_error: false }, if retries == 0 { 8 } else { retries })
    } else {
        (Limit::Retries2(settings.retries2.value), settings.retries2.value)
    };
    let rto_max = settings.rto_max.value;
    let life = |&rto: &Duration| {
        let user_timeout = settings.user_timeout;
        rounded(&Params { rto, rto_max, user_timeout, limit }, settings.hz.value)
    };
    let model_steps = hypothetical(retries, rto_max);
    let model = hypothetical_timeout(retries, rto_max);
    Life { orphan, retries, model, model_steps, lives: ends(settings).iter().map(life).collect() }
}

fn syn(settings: &Settings) -> Life {
    let (retries, rto_max) = (settings.syn_retries.value, settings.rto_max.value);
    let params = Params::syn(retries, settings.syn_linear.value, rto_max, settings.user_timeout);
    let lives = vec![rounded(&params, settings.hz.value)];
    let model = hypothetical_syn(retries, rto_max);
    Life { orphan: false, retries, model, model_steps: vec![], lives }
}

fn rounded(params: &Params, hz: u32) -> Rounded {
    let gives_up = rounded_schedule(params, hz).gives_up;
    Rounded { rto: params.rto, exact: schedule(params), gives_up }
}

fn idle(settings: &Settings) -> Schedule {
    let (time, intvl) = (settings.keepalive_time.value, settings.keepalive_intvl.value);
    keepalive(time, intvl, settings.keepalive_probes.value, settings.user_timeout)
}

/// The shortest and the longest RTO; one if they are the same.
fn ends(settings: &Settings) -> Vec<Duration> {
    let rtos = settings.rtos.value;
    let mut ends = vec![rtos.least, rtos.most];
    ends.dedup();
    ends
}

impl Within {
    fn new(within: Duration, settings: &Settings) -> Self {
        let (rto_max, hz) = (settings.rto_max.value, settings.hz.value);
        let answer = |rtos| {
            let retries = retries2_within(within, rtos, rto_max, hz)?;
            Some((retries, longest(retries, rtos, rto_max, hz)))
        };
        let by_rto = ends(settings).into_iter().map(|rto| (rto, answer((rto, rto)))).collect();
        let (retries2, latest) = answer((settings.rtos.value.least, settings.rtos.value.most)).unzip();
        let reaches = |&n: &u8| hypothetical_timeout(n, rto_max) >= RFC1122_R2;
        let rfc1122 = (0..=u8::MAX).find(reaches).unwrap_or(u8::MAX);
        Self { time: within, retries2, by_rto, latest, rfc1122 }
    }

    /// Whether the answer is less than RFC 1122 asks for.
    pub fn is_below_rfc1122(&self) -> bool {
        self.retries2.is_none_or(|retries2| retries2 < self.rfc1122)
    }
}
