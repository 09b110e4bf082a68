//! Names of hosts, for lines for people. Asking never waits: who is not known yet is shown by address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use parking_lot::Mutex;

/// Addresses remembered; further ones keep their numbers.
const KNOWN: usize = 4096;
/// Addresses that wait for the resolver, which may take seconds for each.
const WAITING: usize = 64;

/// `None` while it is asked for, and for good if there is no name.
type Known = HashMap<IpAddr, Option<Arc<str>>>;

/// What the resolver has said so far.
#[derive(Debug)]
pub(super) struct Names {
    known: Arc<Mutex<Known>>,
    ask: SyncSender<IpAddr>,
}

impl Names {
    /// Starts a thread that asks the system's resolver.
    pub(super) fn start() -> Self {
        Self::with(|address| dns_lookup::lookup_addr(&address).ok())
    }

    fn with(resolve: impl Fn(IpAddr) -> Option<String> + Send + 'static) -> Self {
        let known = Arc::<Mutex<Known>>::default();
        let (ask, questions) = sync_channel(WAITING);
        let answers = Arc::clone(&known);
        thread::spawn(move || answer(&questions, &answers, resolve));
        Self { known, ask }
    }

    /// The host's name, if it is known by now.
    pub(super) fn of(&self, address: IpAddr) -> Option<Arc<str>> {
        let mut known = self.known.lock();
        if let Some(name) = known.get(&address) {
            return name.clone();
        }
        // With the queue full it is asked for another time.
        if known.len() < KNOWN && self.ask.try_send(address).is_ok() {
            known.insert(address, None);
        }
        None
    }
}

fn answer(questions: &Receiver<IpAddr>, known: &Mutex<Known>, resolve: impl Fn(IpAddr) -> Option<String>) {
    for address in questions {
        // A host without a name is called by its number.
        let name = resolve(address).filter(|name| name.parse::<IpAddr>().is_err());
        known.lock().insert(address, name.map(Into::into));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn asking_does_not_wait_and_answers_come() {
        let (answer, answers) = sync_channel(0);
        let names = Names::with(move |_| answers.recv().ok());
        let address = IpAddr::from([198, 51, 100, 7]);
        assert_eq!(names.of(address), None);
        answer.send("db.example".to_owned()).unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while names.of(address).is_none() {
            assert!(Instant::now() < end, "no answer");
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(names.of(address).as_deref(), Some("db.example"));
        // A resolver that stands still holds nobody up, however many are asked for.
        for last in 0..=255 {
            assert_eq!(names.of(IpAddr::from([203, 0, 113, last])), None);
        }
    }

    #[test]
    fn the_system_knows_itself() {
        let names = Names::start();
        let end = Instant::now() + Duration::from_secs(30);
        let loopback = IpAddr::from([127, 0, 0, 1]);
        while names.of(loopback).is_none() && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(names.of(loopback).as_deref(), Some("localhost"));
    }
}
