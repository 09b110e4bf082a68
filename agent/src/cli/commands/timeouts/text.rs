//! The report for people, at most 80 columns wide.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use agent_model::timers::schedule::{Schedule, Step};

use super::plot;
use super::report::{Life, Part, Rounded, TimeoutsReport, Within};
use super::settings::{Settings, Source, Value};

/// The whole page.
pub struct ScheduleText<'a>(pub &'a TimeoutsReport);

impl Display for ScheduleText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let settings = &self.0.settings;
        for (n, part) in self.0.parts.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            match part {
                Part::Data(life) => data(f, settings, life)?,
                Part::Syn(life) => syn(f, settings, life)?,
                Part::Synack(schedule) => synack(f, settings, schedule)?,
                Part::Keepalive(schedule) => keepalive(f, settings, schedule)?,
                Part::Within(answer) => within(f, settings, answer)?,
            }
            if self.0.plot {
                part.schedules().into_iter().try_for_each(|schedule| plot::draw(f, schedule))?;
            }
        }
        Ok(())
    }
}

/// `204 ms`, `1.632 s`, `120 s`.
pub fn time(time: Duration) -> String {
    let ms = time.as_millis();
    match (ms, ms % 1000) {
        (0..1000, _) => format!("{ms} ms"),
        (_, 0) => format!("{} s", ms / 1000),
        (_, rest) => format!("{}.{} s", ms / 1000, format!("{rest:03}").trim_end_matches('0')),
    }
}

/// Tenths of a second, for the column of elapsed time and for ends.
fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn setting<T>(
    f: &mut Formatter<'_>,
    name: &str,
    value: Value<T>,
    show: impl FnOnce(T) -> String,
) -> fmt::Result {
    let source = match value.source {
        Source::Given => "given",
        Source::Host => "from this host",
        Source::Default => "this kernel has no such setting",
    };
    writeln!(f, "  {name:<24} {:>12}   {source}", show(value.value))
}

fn count(n: impl Display) -> String {
    n.to_string()
}

fn user_timeout(f: &mut Formatter<'_>, settings: &Settings) -> fmt::Result {
    settings
        .user_timeout
        .map_or(Ok(()), |value| setting(f, "TCP_USER_TIMEOUT", Value { value, source: Source::Given }, time))
}

fn rto_settings(f: &mut Formatter<'_>, settings: &Settings) -> fmt::Result {
    let rtos = settings.rtos;
    setting(f, "RTO", rtos, |rtos| {
        let (least, most) = (time(rtos.least), time(rtos.most));
        if least == most { least } else { format!("{least} to {most}") }
    })?;
    if rtos.source != Source::Given {
        setting(f, "tcp_rto_min_us", settings.rto_min, time)?;
    }
    setting(f, "tcp_rto_max_ms", settings.rto_max, time)?;
    setting(f, "timer ticks a second", settings.hz, count)
}

fn steps(f: &mut Formatter<'_>, steps: &[Step]) -> fmt::Result {
    writeln!(f, "\n     n         RTO      elapsed")?;
    for Step { n, rto, elapsed } in steps {
        writeln!(f, "  {n:>4} {:>11} {:>12}", time(*rto), seconds(*elapsed))?;
    }
    writeln!(f)
}

fn data(f: &mut Formatter<'_>, settings: &Settings, life: &Life) -> fmt::Result {
    let name = if life.orphan { "tcp_orphan_retries" } else { "tcp_retries2" };
    writeln!(f, "Data, when the peer falls silent")?;
    if life.orphan {
        setting(f, name, settings.orphan_retries, count)?;
    } else {
        setting(f, name, settings.retries2, count)?;
    }
    user_timeout(f, settings)?;
    rto_settings(f, settings)?;
    if settings.user_timeout.is_some() {
        writeln!(f, "\nTCP_USER_TIMEOUT counts from the first retransmission, not {name}.")?;
    } else {
        model(f, life)?;
    }
    life.lives.iter().try_for_each(|rounded| connection(f, settings, rounded))?;
    writeln!(f, "A tail loss probe comes before the first timeout and adds up to one RTO.")
}

fn model(f: &mut Formatter<'_>, life: &Life) -> fmt::Result {
    let (n, model) = (life.retries, seconds(life.model));
    writeln!(f, "\nThe kernel's yardstick T({n}), from 200 ms whatever the connection's RTO:")?;
    steps(f, &life.model_steps)?;
    writeln!(f, "T({n}) = {model} is a lower bound: the kernel compares it with the time since")?;
    writeln!(f, "the first retransmission, and only when a timeout comes. The connection dies")?;
    writeln!(f, "at the first timeout past it.")
}

fn connection(f: &mut Formatter<'_>, settings: &Settings, life: &Rounded) -> fmt::Result {
    writeln!(f, "\nWhat a connection with an RTO of {} does:", time(life.rto))?;
    steps(f, &life.exact.steps)?;
    ending(f, settings, life, "retransmissions")
}

fn ending(f: &mut Formatter<'_>, settings: &Settings, life: &Rounded, what: &str) -> fmt::Result {
    let (earliest, latest) = (seconds(life.gives_up.0), seconds(life.gives_up.1));
    let (died, rule) = (seconds(life.exact.gives_up.1), life.exact.rule.as_str());
    writeln!(f, "It sends {} {what} and dies {died} after the first transmission,", life.exact.sent())?;
    writeln!(f, "by {rule}. Timers are rounded up: at HZ={} that is", settings.hz.value)?;
    writeln!(f, "after {earliest} to {latest}.")
}

fn syn(f: &mut Formatter<'_>, settings: &Settings, life: &Life) -> fmt::Result {
    writeln!(f, "connect(), when nobody answers")?;
    setting(f, "tcp_syn_retries", settings.syn_retries, count)?;
    setting(f, "tcp_syn_linear_timeouts", settings.syn_linear, count)?;
    user_timeout(f, settings)?;
    setting(f, "tcp_rto_max_ms", settings.rto_max, time)?;
    setting(f, "timer ticks a second", settings.hz, count)?;
    for rounded in &life.lives {
        steps(f, &rounded.exact.steps)?;
        ending(f, settings, rounded, "more SYNs")?;
    }
    let (retries, linear) = (life.retries, settings.syn_linear.value);
    let most = u32::from(retries) + u32::from(linear);
    writeln!(f, "It ends at the first timeout after {most} more SYNs ({retries} + {linear}), or once")?;
    writeln!(f, "T({retries}) = {} have passed since the first, whichever comes first.", seconds(life.model))
}

fn synack(f: &mut Formatter<'_>, settings: &Settings, schedule: &Schedule) -> fmt::Result {
    writeln!(f, "A half-open connection, when the client falls silent")?;
    setting(f, "tcp_synack_retries", settings.synack_retries, count)?;
    steps(f, &schedule.steps)?;
    let (sent, gone) = (schedule.sent(), seconds(schedule.gives_up.1));
    writeln!(f, "The listener sends {sent} more SYN-ACKs and forgets the client after {gone}.")?;
    writeln!(f, "With its SYN queue more than half full it may do so after 2.")
}

fn keepalive(f: &mut Formatter<'_>, settings: &Settings, schedule: &Schedule) -> fmt::Result {
    writeln!(f, "An idle connection with SO_KEEPALIVE, when the peer is gone")?;
    setting(f, "tcp_keepalive_time", settings.keepalive_time, time)?;
    setting(f, "tcp_keepalive_intvl", settings.keepalive_intvl, time)?;
    setting(f, "tcp_keepalive_probes", settings.keepalive_probes, count)?;
    user_timeout(f, settings)?;
    steps(f, &schedule.steps)?;
    let (sent, gone) = (schedule.sent(), seconds(schedule.gives_up.1));
    writeln!(f, "It sends {sent} probes and is reset {gone} after the peer was last heard, by")?;
    writeln!(f, "{}. Data that waits for an ACK stops keepalive: then", schedule.rule.as_str())?;
    writeln!(f, "tcp_retries2 decides.")
}

fn within(f: &mut Formatter<'_>, settings: &Settings, answer: &Within) -> fmt::Result {
    writeln!(f, "Data, to be given up within {}", time(answer.time))?;
    rto_settings(f, settings)?;
    writeln!(f, "\n         RTO   tcp_retries2   dies no later than")?;
    for (rto, best) in &answer.by_rto {
        let (retries, latest) = best.map_or(("none".into(), "-".into()), |(n, at)| (count(n), seconds(at)));
        writeln!(f, "{:>12}   {retries:>12}   {latest:>18}", time(*rto))?;
    }
    writeln!(f)?;
    let (Some(retries2), Some(latest)) = (answer.retries2, answer.latest) else {
        return writeln!(f, "No tcp_retries2 is short enough: even 0 waits for a second timeout.");
    };
    writeln!(f, "Set net.ipv4.tcp_retries2 = {retries2}: whatever the RTO of these, it dies no later")?;
    writeln!(f, "than {} after the first transmission, rounding of timers included.", seconds(latest))?;
    if answer.is_below_rfc1122() { rfc1122(f, answer.rfc1122) } else { Ok(()) }
}

fn rfc1122(f: &mut Formatter<'_>, least: u8) -> fmt::Result {
    writeln!(f, "\nThat is below what RFC 1122 §4.2.3.5 asks for: at least 100 s (R2), so")?;
    writeln!(f, "tcp_retries2 of at least {least}. Every connection of the namespace that meets an")?;
    writeln!(f, "outage as long will die. TCP_USER_TIMEOUT does the same for one socket only.")
}
