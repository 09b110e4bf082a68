//! The process family behind what ended or troubled a connection: not a cause, but evidence of several.

use agent_correlate::families::{Counts, ProcessFamily};
use agent_model::cause::NamesFamily;
use agent_model::units::{amount, plural, process, size, time};

use super::Finding;
use crate::forecast::Forecast;
use crate::story::Relatives;

/// Adds who shares the server's sockets, where that belongs to the cause, and what the family is heading for.
pub(super) fn name(finding: Finding, relatives: &Relatives) -> Finding {
    let Relatives { family, forecast } = relatives;
    match finding.cause.row().family {
        NamesFamily::Always => describe(finding, family, forecast),
        NamesFamily::IfItForks if forks(family) => describe(finding, family, forecast),
        NamesFamily::IfItForks | NamesFamily::Never => finding,
    }
}

fn forks(family: &ProcessFamily) -> bool {
    family.counts.children > 0 || family.forks.is_some_and(|forks| forks.forked > 0)
}

fn describe(finding: Finding, family: &ProcessFamily, forecast: &[Forecast]) -> Finding {
    let finding = finding.saw(who(family));
    let finding = if family.forks_per_connection() { finding.infer(one_each(family)) } else { finding };
    match forecast.first() {
        Some(first) => finding.infer(heading(first)),
        None => finding,
    }
}

/// `family of httpd[100]: 500 children, 501 sockets with 43.1 MiB of kernel memory; it forked 512 so far`
fn who(family: &ProcessFamily) -> String {
    let Counts { sockets, children, others, shared, .. } = family.counts;
    let mut parts = vec![
        plural(sockets, "socket") + &format!(" with {} of kernel memory", size(family.memory)),
        amount(children, "child", "children") + " with sockets",
    ];
    parts.extend((others > 0).then(|| amount(others, "process", "processes") + " that it did not fork"));
    parts.extend((shared > 0).then(|| plural(shared, "socket") + " held by several"));
    parts.extend(
        family.forks.map(|forks| {
            format!("{} forked and {} ended since it was first seen", forks.forked, forks.exited)
        }),
    );
    format!("family of {}: {}", process(&family.root), parts.join(", "))
}

fn one_each(family: &ProcessFamily) -> String {
    let Counts { accepted, children_with_one, .. } = family.counts;
    format!(
        "{} forks a child for each connection: {children_with_one} of {} are the only one of a child, {} each",
        process(&family.root),
        amount(accepted, "connection", "connections"),
        size(family.memory_each()),
    )
}

/// `the first limit on its way is kernel.pid_max, with 32500 connections (1200 of 32768 are used, 1 each)`
fn heading(first: &Forecast) -> String {
    let Forecast { bound, limit, used, each, connections, seconds } = first;
    let number = |value: u64| if bound.is_memory() { size(value) } else { value.to_string() };
    let each = if bound.is_memory() { size(*each as u64) } else { format!("{each:.2}") };
    let when = seconds.map_or_else(
        || "it does not grow now".to_owned(),
        |seconds| format!("in {} at its growth now", time(std::time::Duration::from_secs(seconds as u64))),
    );
    format!(
        "the first limit that more connections reach is {}, with {connections} of them: {} of {} are used, \
         {each} a connection; {when}",
        bound.name(),
        number(*used),
        number(*limit),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::Bound;

    #[test]
    fn a_forecast_says_its_numbers() {
        let mib = 1 << 20;
        let forecast = Forecast {
            bound: Bound::TcpMem,
            limit: 762 * mib,
            used: 320 * mib,
            each: 32_768.0,
            connections: 24_384,
            seconds: Some(90.0),
        };
        assert_eq!(
            heading(&forecast),
            "the first limit that more connections reach is net.ipv4.tcp_mem (high), with 24384 of them: 320.0 \
             MiB of 762.0 MiB are used, 32.0 KiB a connection; in 1min 30s at its growth now"
        );
        let forecast = Forecast {
            bound: Bound::PidMax,
            limit: 32_768,
            used: 1200,
            each: 1.0,
            seconds: None,
            ..forecast
        };
        assert!(
            heading(&forecast).ends_with("1200 of 32768 are used, 1.00 a connection; it does not grow now")
        );
    }
}
