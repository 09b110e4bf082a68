//! Which processes have a socket open. A socket can have many: fork and fd passing share it silently.

use agent_model::event::{Process, SockHeld};
use agent_model::limits::HOLDERS;

/// A process that has the socket among its open files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who.
    pub process: Process,
    /// Its parent's process id.
    pub parent: u32,
    /// Its lowest file descriptor for the socket.
    pub fd: u32,
    /// Inode of the socket (`socket:[N]` in /proc/PID/fd).
    pub inode: u64,
    /// The walk that saw it last.
    walk: u32,
}

/// The holders of one socket, as the last walks over open files found them.
#[derive(Clone, Debug, Default)]
pub struct Holders(Option<Box<Found>>);

/// Boxed: most sockets never have any.
#[derive(Clone, Debug, Default)]
struct Found {
    named: Vec<Holder>,
    more: u32,
    /// The walk that `more` is of.
    more_walk: u32,
}

impl Holders {
    /// Takes in what the walk of number `walk` found.
    pub(super) fn add(&mut self, held: &SockHeld, walk: u32) {
        let SockHeld { holder: process, parent, inode, fd, .. } = held;
        let holder = Holder { process: process.clone(), parent: *parent, fd: *fd, inode: *inode, walk };
        let found = self.0.get_or_insert_default();
        if let Some(same) = found.named.iter_mut().find(|known| known.process.pid == process.pid) {
            let fd = if same.walk == walk { holder.fd.min(same.fd) } else { holder.fd };
            *same = Holder { fd, ..holder };
        } else if found.named.len() < HOLDERS {
            found.named.push(holder);
        } else {
            found.count_more(walk);
        }
    }

    /// Drops those that the walk of number `walk`, now complete, did not find.
    pub(super) fn end_walk(&mut self, walk: u32) {
        let Some(found) = &mut self.0 else { return };
        found.named.retain(|holder| holder.walk == walk);
        if found.named.is_empty() {
            self.0 = None;
        }
    }

    /// Those named, at most [`HOLDERS`], in the order in which they were found.
    pub fn named(&self) -> &[Holder] {
        self.0.as_ref().map_or(&[], |found| &found.named)
    }

    /// Further open files of the last walk for whose processes there was no room.
    pub fn more(&self) -> u32 {
        self.0.as_ref().map_or(0, |found| found.more)
    }

    /// Whether the process is among those named.
    pub fn contains(&self, pid: u32) -> bool {
        self.named().iter().any(|holder| holder.process.pid == pid)
    }
}

impl Found {
    fn count_more(&mut self, walk: u32) {
        if self.more_walk != walk {
            (self.more, self.more_walk) = (0, walk);
        }
        self.more = self.more.saturating_add(1);
    }
}
