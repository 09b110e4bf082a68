//! The post-mortem for people.

use std::fmt::Write as _;

use agent_diagnose::Certainty;
use agent_model::escape::Escaped;
use agent_model::event::{OwnerSource, Process};
use agent_model::limits::FIRST_ENTRIES;
use agent_model::words;
use anstyle::Style;

use crate::answers::why::{Happening, WhyReport};
use crate::cli::commands::kubectl::NodeReport;
use crate::schema::{Diagnosis, Outlook, PlaceNames};

const BOLD: Style = Style::new().bold();

/// Wrapped at `width`.
pub(in crate::cli) fn page(report: &WhyReport, width: usize, colour: bool) -> String {
    let mut page = ReportText { text: String::new(), width, colour };
    page.identity(report);
    page.timeline(report);
    match &report.diagnosis {
        Some(diagnosis) => page.diagnosis(diagnosis),
        None => page.section("Cause", &[uncaused(report).to_owned()]),
    }
    if let Some(outlook) = report.outlook.as_ref().filter(|_| report.diagnosis.is_none()) {
        page.section("Outlook", &[comes(outlook)]);
    }
    page.text
}

/// The story of one connection from two nodes: one timeline by their wall clocks, then each one's cause. Of a
/// single node its page.
pub(in crate::cli) fn both(ends: &[NodeReport], width: usize, colour: bool) -> String {
    let [NodeReport { node, report }, other] = ends else {
        return ends.iter().map(|end| page(&end.report, width, colour)).collect();
    };
    let mut page = ReportText { text: String::new(), width, colour };
    page.identity(report);
    page.item("", &format!("on node {node}"));
    page.identity(&other.report);
    page.item("", &format!("on node {}", other.node));
    page.joined_timeline(ends);
    for NodeReport { node, report } in ends {
        if let Some(diagnosis) = &report.diagnosis {
            page.title(&format!("As node {node} sees it"));
            page.diagnosis(diagnosis);
        }
    }
    page.text
}

struct ReportText {
    text: String,
    width: usize,
    colour: bool,
}

/// `pod shop/web-7d9f/nginx of Deployment web`, `unit ssh.service`.
fn words(place: &PlaceNames) -> String {
    let short = place.short().unwrap_or_default();
    let place_words = match (&place.pod, &place.unit) {
        (Some(_), _) => format!("pod {}", Escaped(&short)),
        (None, Some(unit)) => format!("unit {}", Escaped(unit)),
        (None, None) => Escaped(&short).to_string(),
    };
    let workload = place.workload.as_ref();
    let of = workload.map(|workload| format!(" of {} {}", Escaped(&workload.kind), Escaped(&workload.name)));
    format!("{place_words}{}", of.unwrap_or_default())
}

impl ReportText {
    fn identity(&mut self, report: &WhyReport) {
        let WhyReport { local, remote, connection, .. } = report;
        self.title(&format!("{local} -- {remote}"));
        let state = report.state.map_or("unknown", words::state);
        let alive = if report.alive { "alive" } else { "dead" };
        let error = report.error.as_ref().map_or(String::new(), |error| format!(", {}", Escaped(error)));
        self.item(
            "",
            &format!("connection {connection}, network namespace {}, {alive}, {state}{error}", report.netns),
        );
        self.people(report);
        if report.matches > 1 {
            self.item(
                "",
                &format!("{} connections match; this is the one with the last event", report.matches),
            );
        }
    }

    fn people(&mut self, report: &WhyReport) {
        if let Some(owner) = &report.process {
            let doubt = if owner.source == OwnerSource::Listener {
                " (it listens; the owner itself is not known)"
            } else {
                ""
            };
            self.item("", &format!("process {}[{}]{doubt}", Escaped(&owner.comm), owner.pid));
        }
        if let Some(place) = &report.place {
            self.item("", &words(place));
        }
        if let Some(ender) = &report.ended_by {
            self.item("", &format!("ended by {}", name(ender)));
        }
        let holders = report.holders.iter();
        let names: Vec<_> = holders
            .map(|one| format!("{} (parent {}, fd {})", name(&one.process), one.parent, one.fd))
            .collect();
        if !names.is_empty() {
            self.item("", &format!("held by {}", names.join(", ")));
        }
        if let Some(parent) = &report.parent {
            self.item(
                "",
                &format!(
                    "{}, which listens there, does not hold it itself: it ends when they close it",
                    name(parent)
                ),
            );
        }
        if let Some(peer) = &report.peer {
            let holders: Vec<_> = report.peer_holders.iter().map(|one| name(&one.process)).collect();
            let held =
                if holders.is_empty() { String::new() } else { format!(", held by {}", holders.join(", ")) };
            self.item("", &format!("the other end is on this host: connection {peer}{held}"));
        }
    }

    /// Of a healthy connection nothing is remembered.
    fn timeline(&mut self, report: &WhyReport) {
        if report.timeline.is_empty() {
            return;
        }
        self.title("Timeline");
        for (index, happening) in report.timeline.iter().enumerate() {
            if let Some(events) = report.left_out.filter(|_| index == FIRST_ENTRIES) {
                self.item("", &format!("({events} events left out)"));
            }
            let (at, text) = entry(happening);
            self.item(&at, &text);
        }
    }

    fn joined_timeline(&mut self, ends: &[NodeReport]) {
        self.title("Timeline, by the clocks of both nodes");
        let width = ends.iter().map(|end| end.node.chars().count()).max().unwrap_or(0);
        let mut all: Vec<_> = ends
            .iter()
            .flat_map(|end| end.report.timeline.iter().map(|happening| (&end.node, happening.clone())))
            .collect();
        all.sort_by_key(|(_, happening)| happening.time);
        let Some(start) = all.first().map(|(_, first)| first.time) else { return };
        for (node, mut happening) in all {
            let after = happening.time.duration_since(start).as_millis();
            happening.after_ms = u64::try_from(after).unwrap_or(0);
            let (at, text) = entry(&happening);
            self.item(&format!("{at} {node:width$}"), &text);
        }
    }

    fn diagnosis(&mut self, diagnosis: &Diagnosis) {
        self.section("Cause", &[format!("{}: {}", diagnosis.cause, diagnosis.summary)]);
        let evidence: Vec<_> =
            diagnosis.evidence.iter().map(|one| format!("{} {}", mark(one.certainty), one.text)).collect();
        self.section("Evidence", &evidence);
        if let Some(outlook) = &diagnosis.outlook {
            self.section("Outlook", &[comes(outlook)]);
        }
        self.section("Advice", &diagnosis.advice);
    }

    fn section(&mut self, title: &str, items: &[String]) {
        self.title(title);
        for item in items {
            self.item("-", item);
        }
    }

    fn title(&mut self, title: &str) {
        let style = if self.colour { BOLD } else { Style::new() };
        let _ = writeln!(self.text, "{style}{title}{style:#}");
    }

    /// A mark, and a text wrapped beside it.
    fn item(&mut self, mark: &str, text: &str) {
        let indent = if mark.is_empty() { 2 } else { 3 + mark.chars().count() };
        let mut line = if mark.is_empty() { "  ".to_owned() } else { format!("  {mark} ") };
        let mut column = indent;
        for word in text.split_whitespace() {
            let wide = word.chars().count();
            if column > indent && column + wide > self.width {
                self.text += line.trim_end();
                self.text.push('\n');
                line = " ".repeat(indent);
                column = indent;
            }
            line += word;
            line.push(' ');
            column += wide + 1;
        }
        self.text += line.trim_end();
        self.text.push('\n');
    }
}

fn name(process: &Process) -> String {
    format!("{}[{}]", Escaped(&process.comm), process.pid)
}

fn mark(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Observed => "observed:",
        Certainty::Inferred => "inferred:",
    }
}

/// `+1.632s`, and what happened then.
fn entry(happening: &Happening) -> (String, String) {
    let ms = happening.after_ms;
    let mut text = happening.text.clone();
    if let Some(stage) = happening.stage {
        let _ = write!(text, " #{stage}");
    }
    if let Some(rto) = happening.rto_ms {
        let _ = write!(text, ", RTO {rto}ms");
    }
    if happening.count > 1 {
        let _ = write!(text, ", {} times", happening.count);
    }
    let queues = [
        (happening.unacked_bytes, "unacked"),
        (happening.unsent_bytes, "unsent"),
        (happening.unread_bytes, "unread"),
    ];
    for (bytes, word) in queues.into_iter().filter(|(bytes, _)| *bytes > 0) {
        let _ = write!(text, ", {bytes} {word}");
    }
    if happening.window_bytes == Some(0) {
        text.push_str(", the peer's window is shut");
    }
    (format!("{:>11}", format!("+{}.{:03}s", ms / 1000, ms % 1000)), text)
}

/// What is said where no rule holds.
fn uncaused(report: &WhyReport) -> &'static str {
    match report.outlook {
        Some(_) => "none yet: half-open, its client has not answered the SYN-ACK",
        None => "nothing is wrong with it that tcpwhy can see",
    }
}

fn comes(outlook: &Outlook) -> String {
    let next = outlook.next_rto_ms.map_or(String::new(), |next| format!(", the next {next}ms"));
    let rule = outlook.deadline.as_ref().map(|deadline| {
        let rule = deadline.rule.as_str();
        format!("; the kernel gives up between {:.3} and {:.3} by {rule}", deadline.earliest, deadline.latest)
    });
    let rule = rule.unwrap_or_else(|| "; nothing ends it".to_owned());
    format!("stage {}, RTO {}ms{next}, if the peer stays silent{rule}", outlook.stage, outlook.rto_ms)
}

#[cfg(test)]
mod tests {
    use agent_diagnose::fixture::{Bench, SECOND, timeout};

    use super::page;
    use crate::answers::why::{Wanted, report};

    #[test]
    fn a_stall_is_printed_within_the_width() {
        let mut bench = Bench::new();
        for (stage, rto) in [(1, 51), (2, 102), (3, 204)] {
            bench.push(&timeout(u64::from(stage) * SECOND, stage, rto));
        }
        let wanted = Wanted::parse("end=10.0.0.2:5555&id=2a").unwrap();
        assert_eq!(Wanted::parse(&wanted.to_query()), Ok(wanted.clone()));
        let report = report(bench.0.correlator(), bench.0.tracker(), &wanted).unwrap();
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<crate::answers::why::WhyReport>(&json).unwrap(), report);
        let page = page(&report, 80, false);
        assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
        for part in [
            "10.0.0.1:80 -- 10.0.0.2:5555\n",
            "+2.000s retransmit timeout #3, RTO 816ms, 1448 unacked, 100 unsent",
            "- retransmission_timeout: no answer to 3 timeouts, 1448 bytes in flight:",
            "inferred: the peer is dead",
            "- stage 3, RTO 1632ms, the next 3264ms",
            "by tcp_retries2",
        ] {
            assert!(page.contains(part), "no {part:?} in\n{page}");
        }
    }

    #[test]
    fn what_nobody_knows_is_nobody() {
        let bench = Bench::new();
        let wanted = Wanted::parse("pid=1").unwrap();
        assert!(report(bench.0.correlator(), bench.0.tracker(), &wanted).is_none());
        assert!(Wanted::parse("pods=x").unwrap_err().to_string().starts_with("\"pods\" is no parameter"));
    }
}
