//! Whose connections the agent says they are: never those of whoever happened to run.

use std::cell::RefCell;
use std::sync::{Mutex, OnceLock};

use tests::actor::{CHILD_NAME, NAME};
use tests::agent::event::Event;
use tests::link::{Family, Pair};
use tests::live::{self, Watched, named};
use tests::scenes::actors::Actors;
use tests::scenes::{reset, server};
use tests::wait;

/// A connection made before the agent started.
struct Old {
    watched: Watched,
    actors: Actors,
}

/// One for each family; every test of this file comes by here before it starts the agent.
fn old_connections() -> &'static [Mutex<Old>] {
    static OLD: OnceLock<Vec<Mutex<Old>>> = OnceLock::new();
    OLD.get_or_init(|| {
        let old = Family::ALL.map(|family| {
            let pair = Pair::new();
            let actors = Actors::connected(&pair, family);
            (pair, actors)
        });
        old.map(|(pair, actors)| Mutex::new(Old { watched: Watched::new(pair), actors })).into()
    })
}

fn watch() -> Watched {
    old_connections();
    Watched::new(Pair::new())
}

/// Asserts that the line names this process as the owner, and how that may have been learnt.
fn assert_owner(event: &Event, pid: u32, comm: &str, sources: &[&str]) {
    assert_eq!(event.number("/process/pid"), u64::from(pid), "{event:?}");
    assert_eq!(event.text("/process/comm"), comm, "{event:?}");
    assert!(sources.contains(&event.text("/process/source")), "not by {sources:?}: {event:?}");
}

#[test]
fn a_resend_of_the_timer_is_of_the_process_that_connected() {
    // Whoever proves what the agent missed starts it.
    old_connections();
    live::each(|family| {
        let watched = watch();
        let mut actors = Actors::connected(&watched.pair, family);
        actors.client_resends(&watched.pair);
        let event = watched.resend(actors.client_side)?;
        assert_owner(&event, actors.client.pid(), NAME, &["connect"]);
        assert_eq!(event.find("/current"), None, "nobody holds the socket's lock in the timer");
        Ok(())
    });
}

#[test]
fn a_resend_of_an_accepted_socket_is_of_the_process_that_serves_it() {
    Family::each(|family| {
        let watched = watch();
        let mut actors = Actors::connected(&watched.pair, family);
        // At first the listener is all there is to go by; then a walk finds who has the file.
        wait::until("a walk over the open files", || {
            actors.server_resends(&watched.pair);
            watched.resend(actors.server_side).is_ok_and(|event| {
                assert_owner(&event, actors.server.pid(), NAME, &["listener", "file"]);
                event.text("/process/source") == "file"
            })
        });
    });
}

#[test]
fn connections_older_than_the_agent_have_owners() {
    for old in old_connections() {
        let old = RefCell::new(old.lock().expect("another test failed"));
        live::insist(|| {
            let Old { watched, actors } = &mut **old.borrow_mut();
            actors.client_resends(&watched.pair);
            actors.server_resends(&watched.pair);
            let event = watched.resend(actors.client_side)?;
            assert_owner(&event, actors.client.pid(), NAME, &["file", "lock"]);
            let event = watched.resend(actors.server_side)?;
            assert_owner(&event, actors.server.pid(), NAME, &["file", "lock"]);
            Ok(())
        });
    }
}

#[test]
fn the_reset_of_a_forking_server_is_of_the_child_that_closed() {
    Family::each(|family| {
        let watched = watch();
        let served = server::fork_per_connection(&watched.pair, family, 600 << 10);
        let side = served.reset.sender;
        let event = watched.tail(side).wait_for("the reset", |event| event.is("reset_sent", side));
        assert_owner(&event, served.child, CHILD_NAME, &["file", "lock"]);
        assert_eq!(event.number("/current/pid"), u64::from(served.child));
        assert_eq!(event.text("/reset/reason"), "TCP_ABORT_ON_CLOSE");
        assert_eq!(event.number("/reset/unread_bytes"), served.reset.unread);
    });
}

#[test]
fn the_reset_of_a_killed_process_keeps_its_name() {
    Family::each(|family| {
        let watched = watch();
        let actors = Actors::connected(&watched.pair, family);
        let side = actors.server_side;
        let pid = actors.server_is_killed(&watched.pair, 100);
        let event = watched.tail(side).wait_for("the reset", |event| event.is("reset_sent", side));
        assert_owner(&event, pid, NAME, &["file", "lock"]);
    });
}

#[test]
fn a_socket_that_ss_kills_still_belongs_to_its_process() {
    Family::each(|family| {
        let watched = watch();
        let killed = reset::killed(&watched.pair, family);
        let side = killed.sender;
        let event = watched.tail(side).wait_for("the reset", |event| event.is("reset_sent", side));
        assert_eq!(event.number("/process/pid"), u64::from(std::process::id()), "{event:?}");
        assert_eq!(event.text("/current/comm"), "ss");
    });
}

#[test]
fn a_reset_that_was_received_is_of_the_process_that_connected() {
    Family::each(|family| {
        let watched = watch();
        let mut actors = Actors::connected(&watched.pair, family);
        actors.server.order("abort");
        let events = watched.so_far(actors.client_side);
        let event = named(&events, "reset_received");
        assert_eq!(event.len(), 1, "{events:#?}");
        assert_owner(event[0], actors.client.pid(), NAME, &["connect"]);
    });
}
