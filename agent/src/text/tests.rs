use agent_model::escape::is_plain;
use agent_model::event::{Fact, HostFacts};
use agent_model::golden;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::{Clock, Field, Item, Line, LineStyle, Text};
use crate::schema::{Gap, sample};

fn text(colour: bool) -> Text {
    with(Clock::Absolute(TimeZone::UTC), &Field::USUAL, colour)
}

fn with(clock: Clock, fields: &[Field], colour: bool) -> Text {
    Text::new(LineStyle { clock, fields: fields.to_vec(), resolve: false, colour })
}

fn item(observed: &agent_correlate::observed::Observed) -> Item {
    Line::new(observed, sample::HZ).into()
}

#[test]
fn one_of_each() {
    let mut text = text(false);
    let lines: String = sample::all().iter().map(|observed| text.line(&item(observed))).collect();
    let header = text.header();
    golden::check("agent/src/text/golden.txt", &format!("{lines}{header}"));
}

#[test]
fn columns_hold_once_they_have_grown() {
    let mut text = text(false);
    let items: Vec<_> = sample::all().iter().map(item).collect();
    for item in &items {
        text.line(item);
    }
    let at = |line: &str| ["-> ", "<- ", "-- "].iter().filter_map(|arrow| line.find(arrow)).min();
    let arrows: Vec<_> = items.iter().map(|item| at(&text.line(item))).collect();
    assert!(arrows.iter().all(|&arrow| arrow == arrows[0] && arrow.is_some()), "{arrows:?}");
}

#[test]
fn every_column_can_be_chosen_and_stands_below_its_title() {
    for (place, word) in Field::WORDS.into_iter().enumerate() {
        assert_eq!(word.parse(), Ok(Field::ALL[place]));
    }
    let fields = [Field::Remote, Field::State, Field::Connection, Field::Netns, Field::What];
    let mut text = with(Clock::Relative, &fields, false);
    let line = text.line(&item(&sample::timeout()));
    let header = text.header();
    assert_eq!(line.find("ESTABLISHED"), header.find("STATE"), "{header}{line}");
    assert_eq!(line.find("32 unacked"), header.find("WHAT"), "{header}{line}");
    assert!(!line.contains("->"), "{line}");
    assert!("port".parse::<Field>().unwrap_err().to_string().starts_with("not one of time, event"));
}

#[test]
fn times_count_from_the_first_line_or_the_last() {
    let at = |seconds: i64| {
        let mut observed = sample::timeout();
        observed.realtime += seconds * 1_000_000_000;
        item(&observed)
    };
    for (clock, expected) in [
        (Clock::Relative, ["+0.000s", "+1.000s", "+61.000s"]),
        (Clock::Delta, ["+0.000s", "+1.000s", "+60.000s"]),
    ] {
        let mut text = with(clock, &[Field::Time], false);
        let times = [0, 1, 61].map(|seconds| text.line(&at(seconds)).trim().to_owned());
        assert_eq!(times, expected);
    }
}

#[test]
fn gaps_are_printed() {
    let fact =
        Fact::Coalesced { signal: "reset_sent".into(), detail: 99, cgroup: 7, netns: 9, port: 80, count: 5 };
    let item = |fact: &Fact| Gap::of(fact, &HostFacts::default()).unwrap().into();
    assert_eq!(
        text(false).line(&item(&fact)),
        "(5 more events in a storm: reset_sent on port 80 of network namespace 9)\n"
    );
    let fact = Fact::Lost { signal: "retransmit".into(), count: 3 };
    assert_eq!(
        text(false).line(&item(&fact)),
        "(3 lines lost in the ring: retransmit, counted with the next)\n"
    );
}

#[test]
fn missed_events_are_printed() {
    assert_eq!(text(false).line(&Item::missed(7)), "(7 events missed: this reader is too slow)\n");
}

#[test]
fn colour_only_when_asked_for() {
    let item = item(&sample::no_socket());
    assert!(text(true).line(&item).contains("\u{1b}[31mreset sent NO_SOCKET"));
    assert!(!text(false).line(&item).contains('\u{1b}'));
}

#[test]
fn a_failed_resend_names_its_error() {
    let mut observed = sample::timeout();
    let agent_model::event::Detail::Retransmit(agent_model::signals::Retransmit { err, .. }) =
        &mut observed.event.detail
    else {
        unreachable!()
    };
    *err = -libc::EHOSTUNREACH;
    observed.event.stands_for = 12;
    let line = text(false).line(&item(&observed));
    assert!(
        line.ends_with("12 events, not sent: EHOSTUNREACH, 32 unacked, 100 unsent, EHOSTUNREACH by ICMP\n"),
        "{line}"
    );
}

proptest! {
    #[test]
    fn no_name_reaches_the_terminal_as_a_command(comm in any::<String>(), protocol in any::<String>()) {
        let mut observed = sample::out_of_memory();
        observed.owner = sample::timeout().owner;
        observed.owner.as_mut().unwrap().process.comm = comm.as_str().into();
        observed.reason = Some(comm.as_str().into());
        let agent_model::event::Detail::BufLimitExceeded(agent_model::signals::BufLimitExceeded { protocol: name, .. }) = &mut observed.event.detail else {
            unreachable!()
        };
        *name = protocol.as_str().into();
        let line = text(false).line(&item(&observed));
        prop_assert!(line.strip_suffix('\n').unwrap().chars().all(is_plain), "{line:?}");
    }
}
