//! Keys in, screens out: kept as text in `golden/`.

use agent_diagnose::fixture::{Bench, SECOND, closed, timeout};
use agent_model::fixture::ESTABLISHED;
use jiff::{SignedDuration, Timestamp};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent};
use ratatui::style::{Color, Modifier};

use super::model::{Effect, Message, Model};
use super::view::{self, Theme};
use crate::answers::top::{Memory, Top, overview};
use crate::answers::why;
use crate::answers::why::Wanted;
use crate::schema::{Diagnosis, sample};
use agent_model::golden;

const PLAIN: Theme = Theme { colour: false };

/// A host of three connections, two of them stalled, two seconds after its start.
fn bench() -> Bench {
    let mut bench = Bench::new();
    let curl = agent_common::owner::CONNECT;
    let first = |time, stage, rto| {
        timeout(time, stage, rto)
            .socket(0x1000, 0x2a)
            .ends("198.51.100.1:40000", "198.51.100.2:443")
            .owner(4711, "curl", curl)
    };
    bench.push(&first(SECOND / 2, 1, 51));
    bench.push(&first(SECOND, 2, 102));
    let second = timeout(SECOND, 1, 51)
        .socket(0x2000, 0x2b)
        .ends("[2001:db8::1]:40001", "[2001:db8::2]:5432")
        .owner(812, "pay\u{1b}ments", curl);
    bench.push(&second);
    let ends = ("198.51.100.1:40002", "203.0.113.9:8080");
    bench.push(&timeout(SECOND, 3, 204).socket(0x3000, 0x2c).ends(ends.0, ends.1).owner(813, "wget", curl));
    let end = closed(2 * SECOND, ESTABLISHED, libc::ETIMEDOUT).socket(0x3000, 0x2c).ends(ends.0, ends.1);
    bench.push(&end.owner(813, "wget", curl));
    bench
}

fn answer(bench: &Bench) -> Message {
    let overview = overview(bench.0.correlator(), bench.0.tracker());
    let lost = [("ring".to_owned(), 0), ("decode".to_owned(), 0)].into();
    let time = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(2);
    let memory = Memory {
        pages: 3000,
        limits: [180_000, 240_000, 360_000],
        page_size: 4096,
        under_pressure: false,
        orphans: 3,
        max_orphans: 8192,
        sockets: 120,
        time_wait: 12,
    };
    let kernel = "6.12".to_owned();
    Message::Top(Box::new(Top { v: 1, time, kernel, memory: Some(memory), lost, coalesced: 420, overview }))
}

fn model() -> Model {
    let bench = bench();
    let mut model = Model::new(String::new(), Timestamp::UNIX_EPOCH);
    model.apply(answer(&bench));
    let died = bench.0.correlator().connections().find(|known| known.died().is_some()).unwrap();
    let wanted = Wanted::parse(&format!("id={}", died.id)).unwrap();
    let report = why::report(bench.0.correlator(), bench.0.tracker(), &wanted).unwrap();
    model.apply(Message::Diagnosis(Box::new(report.diagnosis.unwrap())));
    model
}

fn press(model: &mut Model, keys: &str) -> Vec<Effect> {
    keys.chars().map(|key| model.apply(Message::Key(KeyEvent::from(KeyCode::Char(key))))).collect()
}

fn hit(model: &mut Model, code: KeyCode) -> Effect {
    model.apply(Message::Key(KeyEvent::from(code)))
}

fn screen(model: &mut Model, (width, height): (u16, u16), theme: Theme) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, model, theme)).unwrap();
    terminal
}

fn text(model: &mut Model, size: (u16, u16)) -> String {
    let terminal = screen(model, size, PLAIN);
    let buffer = terminal.backend().buffer();
    let line = |row| (0..size.0).map(|column| buffer[(column, row)].symbol()).collect::<String>();
    let lines: Vec<_> = (0..size.1).map(|row| line(row).trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

fn check(name: &str, model: &mut Model, size: (u16, u16)) {
    golden::check(&format!("agent/src/cli/commands/top/golden/{name}.txt"), &text(model, size));
}

#[test]
fn each_panel_fits_80_by_24() {
    let mut model = model();
    check("stalled", &mut model, (80, 24));
    press(&mut model, "2");
    check("diagnoses", &mut model, (80, 24));
    press(&mut model, "3");
    check("workloads", &mut model, (80, 24));
    press(&mut model, "?");
    check("help", &mut model, (80, 24));
}

#[test]
fn a_wide_screen_shows_more_and_a_small_one_less() {
    let mut model = model();
    check("wide", &mut model, (140, 20));
    check("narrow", &mut model, (60, 12));
    assert_eq!(text(&mut model, (30, 5)).lines().next(), Some("make this terminal larger, or"));
}

#[test]
fn enter_asks_why_and_shows_the_story() {
    let (mut model, bench) = (model(), bench());
    let Effect::Why(connection) = hit(&mut model, KeyCode::Enter) else { panic!("no question") };
    assert!(text(&mut model, (80, 24)).contains("asking the agent why connection 2a"));
    let wanted = Wanted::parse(&format!("id={connection}")).unwrap();
    let report = why::report(bench.0.correlator(), bench.0.tracker(), &wanted).unwrap();
    model.apply(Message::Why(connection.clone(), Ok(Box::new(report))));
    check("why", &mut model, (80, 24));
    hit(&mut model, KeyCode::End);
    assert!(text(&mut model, (80, 24)).contains("Advice"));
    // It grows with each overview, and closes.
    assert!(matches!(model.apply(answer(&bench)), Effect::Why(again) if again == connection));
    hit(&mut model, KeyCode::Esc);
    assert!(model.detail.is_none());
}

#[test]
fn the_selection_follows_its_connection() {
    let mut model = model();
    hit(&mut model, KeyCode::Down);
    let select = |model: &mut Model| {
        let rows = model.rows();
        let place = model.select(&rows).unwrap();
        (place, rows[place].key.clone())
    };
    press(&mut model, "s");
    let before = select(&mut model);
    press(&mut model, "r");
    let after = select(&mut model);
    assert_eq!((before.1.as_str(), after.1.as_str()), ("2b", "2b"));
    assert_ne!(before.0, after.0);
    hit(&mut model, KeyCode::Home);
    assert_eq!(select(&mut model).0, 0);
}

#[test]
fn a_filter_takes_rows_away() {
    let mut model = model();
    press(&mut model, "/5432");
    hit(&mut model, KeyCode::Enter);
    assert_eq!(model.rows().len(), 1);
    assert!(matches!(press(&mut model, "q")[..], [Effect::Quit]));
    press(&mut model, "/x");
    assert!(text(&mut model, (80, 24)).contains("no row holds the filter's text"));
    hit(&mut model, KeyCode::Esc);
    assert_eq!(model.rows().len(), 2);
}

#[test]
fn every_column_sorts_both_ways() {
    let mut model = model();
    for panel in ["1", "2", "3"] {
        press(&mut model, panel);
        for _ in 0..8 {
            press(&mut model, "s");
            let forward: Vec<_> = model.rows().into_iter().map(|row| row.key).collect();
            press(&mut model, "r");
            let mut backward: Vec<_> = model.rows().into_iter().map(|row| row.key).collect();
            backward.sort();
            let mut sorted = forward.clone();
            sorted.sort();
            assert_eq!(sorted, backward);
            press(&mut model, "r");
        }
    }
    let mut model = self::model();
    press(&mut model, "ss");
    assert!(text(&mut model, (80, 24)).contains("RTO↓"));
}

#[test]
fn news_waits_while_paused() {
    let mut model = model();
    press(&mut model, "p");
    let before = text(&mut model, (80, 24));
    assert!(before.contains("PAUSED"));
    model.apply(Message::Diagnosis(Box::new(Diagnosis::new(&sample::diagnosed()))));
    model.apply(Message::Tick(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(9)));
    assert_eq!(text(&mut model, (80, 24)), before);
    press(&mut model, "p");
    assert!(text(&mut model, (80, 24)).contains("Diagnoses 2"));
}

#[test]
fn countdowns_run_and_an_agent_that_went_is_shown() {
    let mut model = model();
    let first = text(&mut model, (80, 24));
    model.apply(Message::Tick(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(12)));
    assert_ne!(text(&mut model, (80, 24)), first);
    model.apply(Message::Down("no agent runs there".to_owned()));
    assert!(text(&mut model, (120, 24)).contains("no agent runs there"));
}

#[test]
fn marks_do_without_colour() {
    let mut model = model();
    hit(&mut model, KeyCode::Down);
    let cells = |terminal: &Terminal<TestBackend>| terminal.backend().buffer().content.clone();
    let plain = cells(&screen(&mut model, (80, 24), PLAIN));
    assert!(plain.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    assert!(plain.iter().any(|cell| cell.modifier.contains(Modifier::REVERSED)));
    let coloured = cells(&screen(&mut model, (80, 24), Theme { colour: true }));
    assert!(coloured.iter().any(|cell| cell.fg == Color::Yellow));
}

#[test]
fn control_c_always_ends() {
    for before in ["", "/", "?", "2"] {
        let mut model = model();
        press(&mut model, before);
        let key = KeyEvent::new(KeyCode::Char('c'), ratatui::crossterm::event::KeyModifiers::CONTROL);
        assert!(matches!(model.apply(Message::Key(key)), Effect::Quit));
    }
}
