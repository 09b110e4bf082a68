//! The report as one JSON object; its fields are part of the interface (see the command's help).

use std::time::Duration;

use agent_model::timers::schedule::{Schedule, Step};
use serde_json::{Map, Value as Json, json};

use super::report::{Life, Part, Rounded, TimeoutsReport, Within};
use super::settings::{Settings, Source, Value};

/// Version of the fields.
const VERSION: u32 = 1;

/// The report as JSON.
pub fn object(report: &TimeoutsReport) -> Json {
    let mut object = Map::new();
    object.insert("version".into(), VERSION.into());
    object.insert("settings".into(), settings(&report.settings));
    object.extend(report.parts.iter().map(|part| {
        let (name, value) = part_fields(part);
        (name.to_owned(), value)
    }));
    Json::Object(object)
}

fn part_fields(part: &Part) -> (&'static str, Json) {
    match part {
        Part::Data(life) => ("data", lives(life)),
        Part::Syn(life) => ("syn", lives(life)),
        Part::Synack(schedule) => ("synack", exact(schedule)),
        Part::Keepalive(schedule) => ("keepalive", exact(schedule)),
        Part::Within(answer) => ("within", within(answer)),
    }
}

fn settings(settings: &Settings) -> Json {
    let Settings { retries2, rtos, rto_min, rto_max, user_timeout, .. } = *settings;
    json!({
        "tcp_retries2": sourced(retries2, Json::from),
        "rto_ms": sourced(rtos, |rtos| json!([ms(rtos.least), ms(rtos.most)])),
        "tcp_rto_min_ms": sourced(rto_min, ms),
        "tcp_rto_max_ms": sourced(rto_max, ms),
        "tcp_user_timeout_ms": user_timeout.map(ms),
        "tcp_orphan_retries": sourced(settings.orphan_retries, Json::from),
        "tcp_syn_retries": sourced(settings.syn_retries, Json::from),
        "tcp_syn_linear_timeouts": sourced(settings.syn_linear, Json::from),
        "tcp_synack_retries": sourced(settings.synack_retries, Json::from),
        "tcp_keepalive_time_ms": sourced(settings.keepalive_time, ms),
        "tcp_keepalive_intvl_ms": sourced(settings.keepalive_intvl, ms),
        "tcp_keepalive_probes": sourced(settings.keepalive_probes, Json::from),
        "hz": sourced(settings.hz, Json::from),
    })
}

fn sourced<T>(value: Value<T>, show: fn(T) -> Json) -> Json {
    let source = match value.source {
        Source::Given => "given",
        Source::Host => "host",
        Source::Default => "default",
    };
    json!({ "value": show(value.value), "source": source })
}

/// The shortest RTO's fields; with a range also `slowest`, those of the longest.
fn lives(life: &Life) -> Json {
    let mut each = life.lives.iter().map(rounded);
    let mut object = each.next().unwrap_or_default();
    object.insert("model_ms".into(), ms(life.model));
    object.insert("model_steps".into(), life.model_steps.iter().map(step).collect());
    if let Some(slowest) = each.next() {
        object.insert("slowest".into(), slowest.into());
    }
    object.into()
}

fn rounded(life: &Rounded) -> Map<String, Json> {
    let mut fields = fields(&life.exact);
    fields.insert("gives_up_rounded_ms".into(), json!([ms(life.gives_up.0), ms(life.gives_up.1)]));
    fields
}

fn exact(schedule: &Schedule) -> Json {
    fields(schedule).into()
}

fn fields(schedule: &Schedule) -> Map<String, Json> {
    let mut fields = Map::new();
    fields.insert("rule".into(), json!(schedule.rule));
    fields.insert("steps".into(), schedule.steps.iter().map(step).collect());
    fields.insert("sent".into(), schedule.sent().into());
    fields.insert("gives_up_ms".into(), ms(schedule.gives_up.1));
    fields
}

fn within(within: &Within) -> Json {
    json!({
        "within_ms": ms(within.time),
        "retries2": within.retries2,
        "latest_ms": within.latest.map(ms),
        "rfc1122_retries2": within.rfc1122,
        "below_rfc1122": within.is_below_rfc1122(),
    })
}

fn step(step: &Step) -> Json {
    json!({ "n": step.n, "rto_ms": ms(step.rto), "elapsed_ms": ms(step.elapsed) })
}

fn ms(time: Duration) -> Json {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into()
}
