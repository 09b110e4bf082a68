//! The peer is silent. `tcp_write_timeout` ends the connection without a reset: `sk_err` is ETIMEDOUT, or
//! the ICMP error that came meanwhile (`tcp_write_err`).

use agent_correlate::timeline::What;
use agent_model::cause::Cause;
use agent_model::event::TcpState;
use agent_model::signals::retransmit::Resend;
use agent_model::timers::Timer;
use agent_model::timers::policy::hypothetical_timeout;
use agent_model::units::{bytes, errno, jiffies, plural, time};

use super::common::{left, lost, owner, sent, timeouts, unanswered};
use super::socket_buffers::held_up;
use super::zero_window::is_shut;
use super::{Finding, Story};

const ETIMEDOUT: i32 = 110;
/// `TCP_RTO_MAX`
const RTO_MAX: std::time::Duration = std::time::Duration::from_mins(2);

/// It died of a timer, or waits for one.
pub(super) fn is_silent(story: &Story) -> bool {
    let raw = story.raw();
    if !story.is_dead() {
        return story.outlook.is_some() && story.stage() > 0 || probes_in_vain(story);
    }
    let icmp = raw.is_some_and(|raw| raw.err_soft != 0 && raw.err_soft == story.error());
    let gave_up = story.error() == ETIMEDOUT || icmp || (story.error() != 0 && story.stage() > 0);
    gave_up && story.received().is_none()
}

/// Nothing could be sent at all (the host's own device or route): probes go unanswered though the window is open.
fn probes_in_vain(story: &Story) -> bool {
    let probes = story.outlook.is_some_and(|outlook| outlook.timer == Timer::Probe0 && outlook.stage > 0);
    probes && story.raw().is_some_and(|raw| raw.snd_wnd > 0)
}

pub(super) fn user_timeout(story: &Story) -> Option<Finding> {
    let ms = story.raw().filter(|_| is_silent(story)).map(|raw| raw.user_timeout).filter(|ms| *ms > 0)?;
    let limit = time(std::time::Duration::from_millis(ms.into()));
    if is_dead_of_shut_window(story) {
        return Some(shut_window(story, &limit));
    }
    let summary = said(story, &format!("TCP_USER_TIMEOUT of {limit}"));
    let finding = facts(Finding::new(Cause::UserTimeout, summary), story).saw(format!(
        "TCP_USER_TIMEOUT is {ms} ms: it replaces tcp_retries2, tcp_syn_retries only ends it earlier"
    ));
    Some(finding.infer(NO_ANSWER).advise(format!(
        "in {}: {limit} is this program's own choice; longer rides out longer outages, at the cost of \
            learning later of a dead peer",
        owner(story)
    )))
}

/// The probes were answered: TCP_USER_TIMEOUT counts how long nothing could be sent all the same.
fn is_dead_of_shut_window(story: &Story) -> bool {
    story.is_dead() && story.stage() == 0 && is_shut(story) && story.undelivered() > 0
}

fn shut_window(story: &Story, limit: &str) -> Finding {
    let waiting = bytes(story.undelivered());
    let summary = format!(
        "the peer's window was shut: its application did not read, and TCP_USER_TIMEOUT of {limit} ended the wait \
            with {}, {waiting} not delivered",
        errno(story.error())
    );
    let answer =
        story.since_answer().map(|ago| format!("the peer's last answer came {} before the end", time(ago)));
    Finding::new(Cause::UserTimeout, summary)
        .saw("the window that the peer offered was 0, and no timeout was unanswered")
        .saw_if(answer)
        .saw_if(held_up(story))
        .saw_if(sent(story))
        .saw_if(lost(story))
        .infer("the peer's host is up and nothing was lost on the way: its application did not read")
        .advise("find why the peer's application did not read")
        .advise(format!(
            "in {}: TCP_USER_TIMEOUT counts a shut window too, also while the peer answers each probe; longer than \
                {limit} waits for slower readers, at the cost of learning later of a dead peer",
            owner(story)
        ))
}

/// What could not be sent again, since what was sent before has not left this host (`skb_still_in_host_queue`).
fn is_held_here(story: &Story) -> bool {
    let resent = story.entries().iter().rev().find_map(|entry| {
        let What::Retransmit(Resend { stage: 1.., err, .. }) = entry.what else { return None };
        Some(err)
    });
    resent.is_some_and(|err| i32::from(err) == -libc::EBUSY)
}

fn held_here(finding: Finding) -> Finding {
    finding
        .infer(
            "it never left this host: the next hop has not answered ARP or neighbour discovery yet, or the queue of the \
                device moves no packets (a shaper, flow control, a card that is stuck)",
        )
        .advise("see the next hop and the queue, in its network namespace: ip neigh and tc -s qdisc")
}

const NO_ANSWER: &str = "the peer is dead, or packets of one direction vanish on the way: sender and \
    sent look the same in both cases";

pub(super) fn connect_timeout(story: &Story) -> Option<Finding> {
    let connection = story.connection.filter(|_| is_silent(story) || given_up(story))?;
    (connection.live_state == Some(TcpState::SynSent)).then_some(())?;
    let remote = connection.identity.remote();
    let summary = if given_up(story) {
        format!(
            "{} gave up connecting to {remote} after {} without an answer",
            owner(story),
            plural(story.stage(), "SYN timeout")
        )
    } else {
        said(story, &format!("connect() to {remote}"))
    };
    let wrong = story.wrong_answers();
    if wrong > 0 {
        return Some(answered_wrongly(story, wrong));
    }
    if is_held_here(story) {
        return Some(held_here(facts(Finding::new(Cause::ConnectTimeout, summary), story)));
    }
    let tcp = story.tcp()?;
    let linear = tcp
        .syn_linear_timeouts()
        .map_or(String::new(), |linear| format!(" and tcp_syn_linear_timeouts {linear}"));
    Some(
        facts(Finding::new(Cause::ConnectTimeout, summary), story)
            .saw(format!(
                "tcp_syn_retries is {}{linear}, TCP_SYNCNT \
                {}",
                tcp.netns.syn_retries, tcp.raw.syn_retries
            ))
            .infer(format!(
                "{remote} is down or unreachable, or a firewall drops in silence; a closed \
                port would have answered with a reset"
            ))
            .advise(format!(
                "check the way to {}; in {}: connect() with a timeout of its own, or \
                TCP_SYNCNT: fewer SYNs fail earlier, and give up where one loss would have been ridden \
                out",
                remote.ip(),
                owner(story)
            )),
    )
}

/// The peer is there: it acknowledges something that this connection never sent, as a socket of an earlier
/// connection with the same two ends does (RFC 9293 §3.10.7.3: such an ACK is answered with a reset).
fn answered_wrongly(story: &Story, answers: u32) -> Finding {
    let (local, remote) =
        story.connection.map(|known| (known.identity.local(), known.identity.remote())).unzip();
    let [local, remote] = [local, remote].map(|end| end.map_or_else(String::new, |end| end.to_string()));
    let end = if story.is_dead() {
        match story.error() {
            0 => format!("{} gave up", owner(story)),
            error => format!("the kernel gave up with {}", errno(error)),
        }
    } else {
        left(story)
    };
    let summary = format!(
        "{remote} answers the connect() with an ACK of another connection ({}): {end}",
        plural(answers, "time")
    );
    facts(Finding::new(Cause::ConnectTimeout, summary), story)
        .saw(format!(
            "this host reset {} to its SYN, which acknowledged something else",
            plural(answers, "answer")
        ))
        .infer(format!(
            "the host is up and the way there is open: it has an old connection with {local} (in TIME_WAIT, or half \
                open), and does not take the reset for its end (tcp_rfc1337=1 there, or the reset is lost on the way)"
        ))
        .advise(
            "connect from another source port: it works at once. A client behind an address translation should not \
                reuse a port within a minute; on the server net.ipv4.tcp_rfc1337=0 lets the reset end TIME_WAIT, at \
                the cost of the hazards that RFC 1337 names",
        )
}

/// The application closed while it waited.
pub(super) fn given_up(story: &Story) -> bool {
    story.is_dead() && story.error() == 0 && story.stage() > 0 && story.reset().is_none()
}

pub(super) fn retransmission_timeout(story: &Story) -> Option<Finding> {
    is_silent(story).then_some(())?;
    let tcp = story.tcp()?;
    let (retries, rto_max) = (
        tcp.netns.retries2,
        tcp.rto_max().and_then(|max| agent_model::units::from_jiffies(max, story.host.hz)),
    );
    let limit = time(hypothetical_timeout(retries, rto_max.unwrap_or(RTO_MAX)));
    let (in_flight, _) = story.waiting();
    let summary = said(story, &format!("{} in flight", bytes(in_flight)));
    if is_held_here(story) {
        return Some(held_here(facts(Finding::new(Cause::RetransmissionTimeout, summary), story)));
    }
    Some(
        facts(Finding::new(Cause::RetransmissionTimeout, summary), story)
            .saw(format!("tcp_retries2 is {retries}: the kernel gives up at the first timeout past {limit}"))
            .infer(NO_ANSWER)
            .advise(format!(
                "in {}: TCP_USER_TIMEOUT (ms) for this connection alone, or a timeout on \
                its answers; shorter learns sooner of a dead peer and breaks what a longer outage would \
                have let live",
                owner(story)
            ))
            .advise(
                "for the whole namespace: net.ipv4.tcp_retries2; RFC 1122 asks for at least 100 s, \
                which is 8; `tcpwhy timeouts --within 30s` shows what a value gives",
            ),
    )
}

/// How far it came.
fn said(story: &Story, what: &str) -> String {
    let stage = plural(story.stage(), "timeout");
    if is_held_here(story) && !story.is_dead() {
        return format!(
            "the packet still waits in a queue of this host after {stage}, {what}: {}",
            left(story)
        );
    }
    if story.is_dead() {
        return format!("no answer to {stage}, {what}: the kernel gave up with {}", errno(story.error()));
    }
    format!("no answer to {}, {what}: {}", unanswered(story).unwrap_or(stage), left(story))
}

/// How far this host can see. What could not be sent again never became a packet: that is no path's doing.
fn not_here(story: &Story) -> Option<String> {
    let is_drop = |entry: &agent_correlate::timeline::Entry| matches!(entry.what, What::PacketDropped(_));
    let sent = story.connection.is_some_and(|connection| connection.totals().failed == 0);
    let none = sent && story.tells_drops && !story.entries().iter().any(is_drop);
    none.then(|| {
        "no packet of it was dropped on this host (not visible here: the network card, XDP in the driver, the peer, the \
            path)"
            .to_owned()
    })
}

/// What every silence has.
fn facts(finding: Finding, story: &Story) -> Finding {
    let rto =
        story.raw().map(|raw| format!("stage {}, RTO {}", story.stage(), jiffies(raw.rto, story.host.hz)));
    let icmp =
        story.raw().filter(|raw| raw.err_soft != 0).map(|raw| format!("ICMP told {}", errno(raw.err_soft)));
    let local = (story.segments(agent_model::event::RetransmitKind::Timeout) == 0 && story.stage() == 0)
        .then(|| {
            "nothing was sent again: packets may never have left this host (its interface or route)"
                .to_owned()
        });
    let failed = story.connection.map_or(0, |connection| connection.totals().failed);
    finding
        .saw_if(rto)
        .saw_if(timeouts(story))
        .saw_if(sent(story))
        .saw_if(story.is_dead().then(|| lost(story)).flatten())
        .saw_if(not_here(story))
        .saw_if((failed > 0).then(|| format!("{failed} retransmissions failed on this host")))
        .saw_if(icmp)
        .saw_if(local)
}
