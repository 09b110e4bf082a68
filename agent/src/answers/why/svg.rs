//! One connection's timeline as a picture: states, timeouts and how they grow, bytes that wait, the peer's
//! window, resets, and the end or the deadline. A pure function of the [`WhyReport`]; the file needs nothing from elsewhere.

use std::fmt::Write as _;
use std::time::Duration;

use agent_model::escape::Escaped;
use agent_model::signals::Mark;
use agent_model::units::{time, wait};
use agent_model::words;

use super::{Happening, WhyReport};

/// Where times are drawn, pixels from the left.
const LEFT: f64 = 110.0;
const RIGHT: f64 = 930.0;
const WIDTH: u32 = 960;
const HEIGHT: u32 = 545;
/// Top and bottom of each lane.
const STATES: (f64, f64) = (96.0, 120.0);
const TIMEOUTS: (f64, f64) = (150.0, 260.0);
const QUEUES: (f64, f64) = (285.0, 375.0);
const WINDOW: (f64, f64) = (395.0, 435.0);
const EVENTS: f64 = 455.0;
const AXIS: f64 = 475.0;
/// A deadline farther away than this many times the time seen so far is written, not drawn.
const FAR: f64 = 6.0;
/// Characters of a line below the title.
const LINE: usize = 125;

/// Bytes of one sort in an entry.
type Bytes = fn(&Happening) -> u32;

const STYLE: &str = "text{font:13px sans-serif;fill:#222}.title{font-size:17px;font-weight:bold}\
    .small{font-size:11px;fill:#555}.lane{fill:#f5f5f2}.state{fill:#dfe7ef;stroke:#fff}\
    .axis{stroke:#999}.rto{stroke:#b26a00;stroke-width:2;fill:none}.next{stroke:#b26a00;\
    stroke-dasharray:4 3}.unacked{stroke:#c0392b}.unsent{stroke:#2471a3}.unread{stroke:#7d3c98}\
    .window{stroke:#117a65}.shut{fill:#c0392b;opacity:.5}\
    .queue{fill:none;stroke-width:2}.end{stroke:#c0392b;stroke-width:2}.deadline{fill:#c0392b;opacity:.25}\
    .retransmit{fill:#b26a00}.reset{stroke:#c0392b;stroke-width:3}.memory{fill:#7d3c98}.good{fill:#1e8449}\
    .red{fill:#c0392b;font-weight:bold}";

/// The picture.
pub fn draw(report: &WhyReport) -> String {
    let mut picture = Picture { out: String::new(), span: span(report) };
    picture.head(report);
    picture.states(report);
    picture.timeouts(report);
    picture.queues(&report.timeline);
    picture.window(&report.timeline);
    picture.events(&report.timeline);
    picture.axis();
    picture.end(report);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" role=\"img\"><style>{STYLE}</style>\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>{}</svg>\n",
        picture.out
    )
}

/// ms that the picture shows, from the first event.
fn span(report: &WhyReport) -> f64 {
    let last = report.timeline.last().map_or(0, |last| last.after_ms) as f64;
    let armed = outlook(report).map_or(0.0, |outlook| outlook.rto_ms as f64);
    let seen = (last + armed).max(10.0);
    let death = deadline(report).map_or(0.0, |(_, latest)| latest);
    1.04 * if death <= FAR * seen { seen.max(death) } else { seen }
}

fn outlook(report: &WhyReport) -> Option<&crate::schema::Outlook> {
    report.diagnosis.as_ref()?.outlook.as_ref()
}

/// When the kernel gives up, ms from the first event, earliest and latest.
fn deadline(report: &WhyReport) -> Option<(f64, f64)> {
    let (deadline, first) = (outlook(report)?.deadline.as_ref()?, report.timeline.first()?.time);
    let after = |time: jiff::Timestamp| 1000.0 * time.duration_since(first).as_secs_f64();
    Some((after(deadline.earliest), after(deadline.latest)))
}

struct Picture {
    out: String,
    span: f64,
}

impl Picture {
    fn x(&self, ms: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * (ms / self.span).clamp(0.0, 1.0)
    }

    fn text(&mut self, at: (f64, f64), class: &str, anchor: &str, text: &str) {
        let (x, y) = at;
        let _ = write!(
            self.out,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{}</text>",
            escaped(text)
        );
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let _ = write!(
            self.out,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" class=\"{class}\"/>",
            from.0, from.1, to.0, to.1
        );
    }

    fn bar(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let _ = write!(
            self.out,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" class=\"{class}\"/>",
            from.0,
            from.1,
            (to.0 - from.0).max(1.0),
            to.1 - from.1
        );
    }

    fn lane(&mut self, lane: (f64, f64), title: &str) {
        self.bar((LEFT, lane.0), (RIGHT, lane.1), "lane");
        self.text((LEFT - 10.0, lane.0 + 14.0), "", "end", title);
    }

    fn head(&mut self, report: &WhyReport) {
        let WhyReport { local, remote, connection, .. } = report;
        let process = report
            .process
            .as_ref()
            .map_or(String::new(), |owner| format!(", {}[{}]", Escaped(&owner.comm), owner.pid));
        self.text((20.0, 28.0), "title", "start", &format!("{local} -- {remote}"));
        let alive = if report.alive { "alive" } else { "dead" };
        let cause = report.diagnosis.as_ref().map_or("nothing is wrong with it".to_owned(), |diagnosis| {
            format!("{}: {}", diagnosis.cause, diagnosis.summary)
        });
        self.text((20.0, 48.0), "", "start", &cut(&cause));
        self.text((20.0, 66.0), "small", "start", &format!("connection {connection}{process}, {alive}"));
    }

    /// One bar for each state that it was in.
    fn states(&mut self, report: &WhyReport) {
        self.lane(STATES, "state");
        let changes: Vec<_> =
            report.timeline.iter().filter_map(|one| Some((one.after_ms as f64, one.states?))).collect();
        let first = changes.first().map(|(_, (old, _))| *old).or(report.state).map(|state| (0.0, state));
        let all: Vec<_> = first.into_iter().chain(changes.iter().map(|(at, (_, new))| (*at, *new))).collect();
        for (place, (from, state)) in all.iter().enumerate() {
            let to = all.get(place + 1).map_or(self.span, |(next, _)| *next);
            let (left, right) = (self.x(*from), self.x(to));
            self.bar((left, STATES.0), (right, STATES.1), "state");
            let name = words::state(*state);
            // Some 8 pixels a letter.
            if right - left > 8.0 * name.len() as f64 + 8.0 {
                self.text((left + 5.0, STATES.0 + 16.0), "small", "start", name);
            }
        }
    }

    /// Each timeout from when it was armed to when it fired, the longer the higher.
    fn timeouts(&mut self, report: &WhyReport) {
        self.lane(TIMEOUTS, "RTO");
        let fired = report
            .timeline
            .iter()
            .filter_map(|one| Some((one.after_ms as f64, one.rto_ms? as f64, one.stage?)));
        let fired: Vec<_> = fired.collect();
        let next = outlook(report).map(|outlook| outlook.rto_ms as f64);
        let most = fired.iter().map(|(_, rto, _)| *rto).chain(next).fold(1.0, f64::max);
        let least = fired.iter().map(|(_, rto, _)| *rto).fold(most, f64::min).max(1.0);
        let room = TIMEOUTS.1 - TIMEOUTS.0 - 30.0;
        let height =
            |rto: f64| TIMEOUTS.1 - 6.0 - room * ((rto / least).ln() / (most / least).max(2.0).ln()).max(0.0);
        let mut labelled = f64::MIN;
        for (at, rto, stage) in &fired {
            let (left, right, y) = (self.x(at - rto), self.x(*at), height(*rto));
            self.line((left, y), (right, y), "rto");
            self.line((right, y), (right, TIMEOUTS.1), "rto");
            if right - labelled > 60.0 {
                let label = format!("#{stage} {}", short(*rto));
                self.text((right.max(LEFT + 60.0), y - 5.0), "small", "end", &label);
                labelled = right;
            }
        }
        if let (Some(next), Some((last, ..))) = (next, fired.last()) {
            let y = height(next);
            self.line((self.x(*last), y), (self.x(last + next), y), "next");
        }
    }

    fn queues(&mut self, timeline: &[Happening]) {
        self.lane(QUEUES, "bytes");
        let sorts: [(&str, Bytes); 3] = [
            ("unacked", |one| one.unacked_bytes),
            ("unsent", |one| one.unsent_bytes),
            ("unread", |one| one.unread_bytes),
        ];
        let most = sorts.iter().flat_map(|(_, of)| timeline.iter().map(of)).max().unwrap_or(0);
        if most == 0 {
            return;
        }
        let y = |bytes: u32| QUEUES.1 - (QUEUES.1 - QUEUES.0 - 8.0) * f64::from(bytes) / f64::from(most);
        for (place, (name, of)) in sorts.into_iter().enumerate() {
            let Some(top) = timeline.iter().map(of).max().filter(|top| *top > 0) else { continue };
            let points: Vec<_> = timeline.iter().map(|one| (one.after_ms, y(of(one)))).collect();
            self.steps(&points, name);
            let label = format!("{name} {top}");
            self.text((LEFT - 10.0, QUEUES.0 + 32.0 + 16.0 * place as f64), "small", "end", &label);
        }
    }

    /// A line through points of time, ms, and height, that stays where it is until the next.
    fn steps(&mut self, points: &[(u64, f64)], class: &str) {
        let mut path = String::new();
        for (place, (after, y)) in points.iter().enumerate() {
            let x = self.x(*after as f64);
            let _ = if place == 0 { write!(path, "M{x:.1} {y:.1}") } else { write!(path, "H{x:.1}V{y:.1}") };
        }
        let _ = write!(path, "H{:.1}", self.x(self.span));
        let _ = write!(self.out, "<path class=\"queue {class}\" d=\"{path}\"/>");
    }

    /// What the peer offered to take; red while it was shut.
    fn window(&mut self, timeline: &[Happening]) {
        self.lane(WINDOW, "peer's window");
        let offers = timeline.iter().filter_map(|one| Some((one.after_ms, one.window_bytes?)));
        let offers: Vec<(u64, u32)> = offers.collect();
        let Some(most) = offers.iter().map(|(_, window)| *window).max() else { return };
        for (place, (after, window)) in offers.iter().enumerate() {
            if *window == 0 {
                let end = offers.get(place + 1).map_or(self.span, |(next, _)| *next as f64);
                self.bar((self.x(*after as f64), WINDOW.0), (self.x(end), WINDOW.1), "shut");
            }
        }
        let room = WINDOW.1 - WINDOW.0 - 8.0;
        let y = |window: u32| WINDOW.1 - room * f64::from(window) / f64::from(most.max(1));
        let points: Vec<_> = offers.into_iter().map(|(after, window)| (after, y(window))).collect();
        self.steps(&points, "window");
        self.text((LEFT - 10.0, WINDOW.0 + 32.0), "small", "end", &format!("{most}"));
    }

    fn events(&mut self, timeline: &[Happening]) {
        self.text((LEFT - 10.0, EVENTS + 4.0), "", "end", "events");
        for one in timeline {
            let x = self.x(one.after_ms as f64);
            match one.event.mark() {
                Mark::Repeat => self.dot(x, "retransmit", &one.text),
                Mark::Shortage => self.dot(x, "memory", &one.text),
                Mark::Recovery => self.dot(x, "good", &one.text),
                Mark::Reset => {
                    self.line((x - 6.0, EVENTS - 6.0), (x + 6.0, EVENTS + 6.0), "reset");
                    self.line((x - 6.0, EVENTS + 6.0), (x + 6.0, EVENTS - 6.0), "reset");
                }
                Mark::Step => self.line((x, EVENTS - 6.0), (x, EVENTS + 6.0), "axis"),
            }
        }
    }

    /// The text that a pointer at the entry shows.
    fn dot(&mut self, x: f64, class: &str, title: &str) {
        let title = escaped(title);
        let _ = write!(
            self.out,
            "<circle cx=\"{x:.1}\" cy=\"{EVENTS}\" r=\"5\" class=\"{class}\"><title>{title}</title></circle>"
        );
    }

    fn axis(&mut self) {
        self.line((LEFT, AXIS), (RIGHT, AXIS), "axis");
        let step = step(self.span / 8.0);
        for n in 0..=(self.span / step) as u32 {
            let ms = f64::from(n) * step;
            self.line((self.x(ms), AXIS), (self.x(ms), AXIS + 5.0), "axis");
            self.text((self.x(ms), AXIS + 19.0), "small", "middle", &short(ms));
        }
        let key = [
            "dots: sent again (orange), memory refused (violet), answered (green); crosses: resets",
            "bytes not acknowledged (red), not sent (blue), not read (violet); the window is red while it is shut",
        ];
        for (line, text) in key.into_iter().enumerate() {
            self.text((LEFT, AXIS + 40.0 + 16.0 * line as f64), "small", "start", text);
        }
    }

    fn end(&mut self, report: &WhyReport) {
        let top = STATES.0 - 4.0;
        if !report.alive {
            let x = self.x(report.timeline.last().map_or(0, |last| last.after_ms) as f64);
            self.line((x, top), (x, AXIS), "end");
            let cause = report.diagnosis.as_ref().map_or("dead", |diagnosis| diagnosis.cause.as_str());
            self.text((x - 4.0, top - 3.0), "red", "end", cause);
            return;
        }
        let Some((earliest, latest)) = deadline(report) else { return };
        let rule =
            outlook(report).and_then(|outlook| outlook.deadline.as_ref()).map_or("", |end| end.rule.as_str());
        let label =
            format!("gives up at +{} by {rule}", wait(Duration::from_secs_f64(earliest.max(0.0) / 1000.0)));
        if latest <= self.span {
            let (left, right) = (self.x(earliest), self.x(latest));
            self.bar((left, top), (right.max(left + 2.0), AXIS), "deadline");
            self.text((left - 4.0, top - 3.0), "red", "end", &label);
        } else {
            self.text((RIGHT, top - 3.0), "red", "end", &format!("{label} →"));
        }
    }
}

/// The next larger of 1, 2, 5, 10, 20, 50, ...
fn step(least: f64) -> f64 {
    let decade = 10_f64.powf(least.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|digit| digit * decade)
        .find(|step| *step >= least)
        .unwrap_or(decade)
}

fn short(ms: f64) -> String {
    time(Duration::from_secs_f64(ms.max(0.0).round() / 1000.0))
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LINE {
        text.to_owned()
    } else {
        text.chars().take(LINE - 1).chain(['…']).collect()
    }
}

/// Safe between tags, whatever the name of a process.
fn escaped(text: &str) -> String {
    Escaped(text).to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use agent_diagnose::fixture::{Bench, SECOND, closed, timeout};
    use agent_model::fixture::ESTABLISHED;

    use super::*;
    use crate::answers::why::{Wanted, report};
    use agent_model::golden;

    fn picture(bench: &Bench) -> String {
        draw(&report(bench.0.correlator(), bench.0.tracker(), &Wanted::default()).unwrap())
    }

    fn stalled(comm: &str) -> Bench {
        let mut bench = Bench::new();
        for (stage, rto) in [(1, 51), (2, 102), (3, 204), (4, 408)] {
            let record =
                timeout(SECOND * (1 << stage) / 5, stage, rto).ends("198.51.100.1:80", "198.51.100.2:40000");
            bench.push(&record.owner(55, comm, agent_common::owner::CONNECT));
        }
        bench
    }

    #[test]
    fn a_stall_and_a_death_are_drawn() {
        let mut bench = stalled("curl");
        golden::check("agent/src/answers/why/stall.svg", &picture(&bench));
        let end =
            closed(7 * SECOND, ESTABLISHED, libc::ETIMEDOUT).ends("198.51.100.1:80", "198.51.100.2:40000");
        bench.push(&end);
        let death = picture(&bench);
        for part in ["class=\"end\"", "ESTABLISHED", ">retransmission_timeout</text>", "#4 1.632s"] {
            assert!(death.contains(part), "no {part} in {death}");
        }
    }

    #[test]
    fn names_are_no_markup() {
        let drawn = picture(&stalled("<script>&\u{1b}"));
        assert!(drawn.contains("&lt;script&gt;&amp;") && !drawn.contains("<script"), "{drawn}");
    }
}
