//! Packets that this host drops: told where they die, tied to their connection, and judged. Each look-alike is the same
//! loss where this host cannot see it.

use serde_json::Value;
use tests::agent::event::Event;
use tests::agent::tail::Tail;
use tests::link::{Family, Pair};
use tests::live::Watched;
use tests::scenes::dropped::Dropped;
use tests::tcp::Side;

mod device;
mod firewall;
mod path;
mod program;

/// What is said of `side` in `phase`.
fn diagnosis(tail: &Tail, side: Side, phase: &str) -> Event {
    tail.wait_for("a diagnosis", |event| event.is("diagnosis", side) && event.text("/phase") == phase)
}

/// The first packet of `dropped` that was dropped, told with the socket that sent it.
fn first_drop(tail: &Tail, dropped: &Dropped) -> Event {
    tail.wait_for("a dropped packet", |event| event.is("packet_dropped", dropped.side))
}

fn all(diagnosis: &Event) -> String {
    let evidence = diagnosis.find("/evidence").and_then(Value::as_array).expect("evidence");
    evidence.iter().map(|one| one["text"].as_str().expect("a text")).collect::<Vec<_>>().join("\n")
}

fn assert_says(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "no {wanted:?} in {text}");
    }
}

/// `2026-11-30T23:26:54.968148000Z` of the same day, in seconds.
fn seconds(event: &Event) -> f64 {
    let clock = event.text("/time").split_once('T').expect("a time").1.trim_end_matches('Z');
    clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().expect("a number"))
}

/// What a verdict must say.
struct Verdict {
    cause: &'static str,
    /// How it begins.
    who: &'static str,
    /// The kernel's reason.
    reason: &'static str,
    /// In what was observed and inferred.
    evidence: &'static [&'static str],
}

impl Verdict {
    /// Of whatever `scene` does, in both families, at the first time that something is said.
    fn each(&self, scene: impl Fn(&Pair, Family) -> Dropped + Sync) {
        Family::each(|family| self.one(|pair| scene(pair, family)));
    }

    fn one(&self, scene: impl FnOnce(&Pair) -> Dropped) {
        let watched = Watched::new(Pair::new());
        let dropped = scene(&watched.pair);
        self.check(&diagnosis(watched.tail(dropped.side), dropped.side, "stalled"), &dropped);
    }

    /// Names this host and the network namespace first, and blames nobody else.
    fn check(&self, told: &Event, dropped: &Dropped) {
        let summary = told.text("/summary");
        println!("{summary}\n{}\n{:?}", all(told), told.find("/advice"));
        assert_eq!(told.text("/cause"), self.cause, "{told:#?}");
        assert!(summary.starts_with(self.who), "{summary}");
        assert_says(summary, &[&format!("network namespace {})", dropped.netns), self.reason]);
        assert_says(&all(told), &["of it on this host"]);
        assert_says(&all(told), self.evidence);
        for other in ["the peer is dead", "unreachable, or a firewall", "no packet of it was dropped"] {
            assert!(!all(told).contains(other), "{told:#?}");
        }
    }
}
