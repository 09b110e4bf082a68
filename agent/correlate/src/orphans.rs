//! The owners of closed sockets that the kernel reset for want of memory. No process has such a socket open, so no
//! walk over open files finds it: its last owner is known from its own events.

use std::collections::BTreeMap;

use super::connection::Connection;
use super::place::Place;

/// Owners with a count of their own; the sockets of all further ones are counted together.
const OWNERS: usize = 64;

/// The victims so far.
#[derive(Debug, Default)]
pub struct Orphans {
    by_owner: BTreeMap<Box<str>, u64>,
    others: u64,
}

impl Orphans {
    /// Counts one more. Children of one server share its name, so the name and the pod or unit identify the owner.
    pub(super) fn add(&mut self, connection: &Connection, place: &Place) {
        let owner = connection.owner.as_deref().map(|owner| name(&owner.process.comm, place));
        match owner.filter(|name| self.by_owner.contains_key(name) || self.by_owner.len() < OWNERS) {
            Some(name) => *self.by_owner.entry(name).or_default() += 1,
            None => self.others += 1,
        }
    }

    /// Owners and the number of their sockets, most first.
    pub fn by_owner(&self) -> Vec<(&str, u64)> {
        let mut all: Vec<_> = self.by_owner.iter().map(|(name, count)| (&**name, *count)).collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all
    }

    /// Those of all further owners, and of nobody who is known.
    pub fn others(&self) -> u64 {
        self.others
    }
}

/// `nginx of pod web-7d9f4c`, `curl of unit backup.service`, `curl`.
fn name(comm: &str, place: &Place) -> Box<str> {
    let pod = place.pod().map(|pod| &*pod.name).or(place.pod_uid()).map(|pod| format!("{comm} of pod {pod}"));
    let unit = || place.unit().map(|unit| format!("{comm} of unit {unit}"));
    pod.or_else(unit).unwrap_or_else(|| comm.to_owned()).into()
}
