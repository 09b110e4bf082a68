//! The agent's stream of events, as a test reads it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use super::event::Event;
use super::http;
use crate::live::Silent;
use crate::wait::PATIENCE;

/// Events of one network namespace, from the moment this was made.
#[derive(Debug)]
pub struct Tail {
    stream: UnixStream,
    lines: Receiver<Event>,
    /// Lines read while the test waited for another one.
    passed: RefCell<VecDeque<Event>>,
}

impl Tail {
    /// Subscribes; the agent has answered when this returns, so nothing later is missed.
    pub(super) fn open(socket: &Path, query: &str) -> Self {
        let stream = UnixStream::connect(socket)
            .unwrap_or_else(|error| panic!("connect to {}: {error}", socket.display()));
        let reading = stream.try_clone().expect("duplicate a socket");
        let body = http::get(reading, &format!("/v1/events?{query}"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            // Ends when the test shuts the stream down, or stops listening.
            for line in BufReader::new(body).lines().map_while(Result::ok) {
                if sender.send(Event::parse(&line)).is_err() {
                    return;
                }
            }
        });
        Self { stream, lines, passed: RefCell::default() }
    }

    /// The first event not yet returned for which `wanted` holds; others are kept for later.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let mut passed = self.passed.borrow_mut();
        if let Some(position) = passed.iter().position(&wanted) {
            return passed.remove(position).expect("its position was just found");
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let event = self.next(deadline).unwrap_or_else(|| panic!("no {what} among {passed:#?}"));
            if wanted(&event) {
                return event;
            }
            passed.push_back(event);
        }
    }

    /// All events not yet returned up to the first for which `last` holds, with it.
    pub fn until(&self, what: &str, last: impl Fn(&Event) -> bool) -> Vec<Event> {
        let end = self.wait_for(what, last);
        let mut events: Vec<Event> = self.passed.borrow_mut().drain(..).collect();
        events.push(end);
        events
    }

    /// The same of what a timer caused.
    pub fn try_until(&self, last: impl Fn(&Event) -> bool) -> Result<Vec<Event>, Silent> {
        let mut events: Vec<Event> = self.passed.borrow_mut().drain(..).collect();
        let deadline = Instant::now() + PATIENCE;
        while !events.iter().any(&last) {
            events.push(self.next(deadline).ok_or(Silent)?);
        }
        Ok(events)
    }

    /// What has come by now.
    pub fn received(&self) -> Vec<Event> {
        self.passed.borrow_mut().drain(..).chain(self.lines.try_iter()).collect()
    }

    fn next(&self, deadline: Instant) -> Option<Event> {
        let event = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?;
        assert_ne!(event.name(), "missed", "the test read too slowly: {event:?}");
        Some(event)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // The agent may have ended first.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
