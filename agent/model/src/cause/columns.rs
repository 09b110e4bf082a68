//! What the table of causes has beside each.

/// Under which heading the index of the pages lists a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kin {
    /// This host sent a reset.
    ResetHere,
    /// A handshake failed.
    Handshake,
    /// This host dropped the packets.
    DroppedHere,
    /// A timer ends the connection, or will.
    SilentPeer,
    /// The peer sent a reset.
    ResetByPeer,
    /// Memory was refused.
    Memory,
    /// The connection lives and has trouble.
    Trouble,
    /// No cause that is known.
    Nothing,
}

/// Whether a diagnosis names the process family that shares the server's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamesFamily {
    /// Whoever has the memory, forked or not.
    Always,
    /// A server's way to end connections: the family says more only if it forks.
    IfItForks,
    /// It has nothing to do with the cause.
    Never,
}

/// Whether a diagnosis names the processes that hold most of the memory in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamesHolders {
    /// Of the whole host's TCP memory.
    OfHost,
    /// Of the memory of the connection's cgroup.
    OfCgroup,
    /// The cause is not about memory of many sockets.
    Never,
}

/// How urgent an alert is, in the words of Alertmanager's `severity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look today.
    Warning,
    /// Worth waking somebody.
    Critical,
}

/// When Prometheus raises an alert for a cause: on more deaths of one place in 10 minutes than a threshold.
#[derive(Clone, Copy, Debug)]
pub struct Alert {
    /// How urgent it is.
    pub severity: Severity,
    /// The most deaths that raise none.
    pub above: u32,
    /// What the dead connections are, after their number: "connections reset by the peer".
    pub summary: &'static str,
}

/// A cause's row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The cause in a sentence, as the index has it.
    pub brief: &'static str,
    /// Where the index has it.
    pub kin: Kin,
    /// Whether its diagnosis names the process family.
    pub family: NamesFamily,
    /// Whether its diagnosis names who holds the memory.
    pub holders: NamesHolders,
    /// Its alert.
    pub alert: Alert,
}
