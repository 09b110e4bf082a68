use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::{Item, Line, Text};
use crate::export::escape::is_plain;
use crate::export::golden;
use crate::export::line::sample;

fn text(colour: bool) -> Text {
    Text::new(TimeZone::UTC, colour)
}

fn item(observed: &crate::correlate::observed::Observed) -> Item {
    Line::new(observed, sample::HZ).into()
}

#[test]
fn one_of_each() {
    let mut text = text(false);
    let lines: String = sample::all().iter().map(|observed| text.line(&item(observed))).collect();
    let header = text.header();
    golden::check("agent/src/export/text/golden.txt", &format!("{lines}{header}"));
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
fn missed_events_are_told() {
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
    let crate::event::Detail::Retransmit { err, .. } = &mut observed.event.detail else { unreachable!() };
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
        observed.reset_reason = Some(comm.as_str().into());
        let crate::event::Detail::BufLimitExceeded { protocol: name, .. } = &mut observed.event.detail else {
            unreachable!()
        };
        *name = protocol.as_str().into();
        let line = text(false).line(&item(&observed));
        prop_assert!(line.strip_suffix('\n').unwrap().chars().all(is_plain), "{line:?}");
    }
}
