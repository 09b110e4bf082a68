//! A full accept queue.

use std::net::TcpStream;
use std::os::fd::OwnedFd;

use crate::link::{Family, Loss, Pair};
use crate::snmp::Meter;
use crate::tcp::{self, Side};

/// A listener whose accept queue is full, and a client whose handshake lacks its last ACK.
#[derive(Debug)]
pub struct FullAcceptQueue<'a> {
    /// The server's counters, from before the first connection.
    pub meter: Meter<'a>,
    /// What it sends next finds the queue full.
    pub overflows: TcpStream,
    /// The end of that client; once it is reset, nobody can ask.
    pub side: Side,
    /// The listener, and what waits to be accepted.
    pub held: Vec<OwnedFd>,
}

impl<'a> FullAcceptQueue<'a> {
    /// A full queue refuses SYNs, so the two that will not both fit are half-open before it is full.
    pub fn new(pair: &'a Pair, family: Family) -> Self {
        let listener = tcp::listen(&pair.server, family, 1);
        let to = tcp::local_address(&listener);
        let meter = Meter::new(&pair.server);
        let waiting = tcp::connect(&pair.client, to);
        meter.reach("TcpPassiveOpens", 1);
        pair.server.drop_incoming(&Loss::bare_acks());
        let [fits, overflows] = [(); 2].map(|()| tcp::connect(&pair.client, to));
        let side = Side::of(&pair.client, &overflows);
        tcp::send(&fits, 1);
        meter.reach("TcpPassiveOpens", 2);
        // Only now: a SYN-ACK that is sent again is answered, and the other client would take the place.
        pair.server.pass();
        Self { meter, overflows, side, held: vec![listener.into(), waiting.into(), fits.into()] }
    }
}
