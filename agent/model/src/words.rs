//! One word for one thing, in lines, metrics, filters and docs alike.

use std::fmt;
use std::str::FromStr;

pub use agent_common::signal::WORDS as SIGNALS;
use agent_common::{retransmit, signal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Detail, Direction, Exit, RetransmitKind, TcpState};

macro_rules! event_words {
    (
        events { $($(#[$doc:meta])* $NUMBER:ident $word:ident $Variant:ident { $($column:tt)* })* }
        $($others:tt)*
    ) => {
        /// Word of a signal that a line can have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum EventWord { $($(#[$doc])* $Variant,)* }

        impl EventWord {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$Variant),*];
            /// Their words, in the same order.
            pub const WORDS: &'static [&'static str] = &[$(signal::word::$NUMBER),*];

            /// Of an event.
            pub fn of(detail: &Detail) -> Self {
                match detail { $(Detail::$Variant(_) => Self::$Variant,)* }
            }
        }
    };
}

agent_common::signals! { event_words }

/// The text is no word of the list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of {}", .0.join(", "))]
pub struct NoSuchWord(&'static [&'static str]);

impl EventWord {
    /// The word.
    pub fn as_str(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

impl fmt::Display for EventWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for EventWord {
    type Err = NoSuchWord;

    fn from_str(text: &str) -> Result<Self, NoSuchWord> {
        Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or(NoSuchWord(Self::WORDS))
    }
}

/// Words of the retransmission kinds, indexed by `agent_common::retransmit`.
pub const KINDS: &[&str; retransmit::END as usize] =
    &["unknown", "timeout", "fast", "tail_loss_probe", "reorder", "slow_start", "syn", "synack"];

/// Word of a retransmission kind.
pub fn kind(kind: RetransmitKind) -> &'static str {
    KINDS[kind as usize]
}

/// Word of a kind as the kernel side numbers it.
pub fn kind_number(number: u16) -> &'static str {
    KINDS.get(usize::from(number)).unwrap_or(&KINDS[usize::from(retransmit::UNKNOWN)])
}

/// Reads the word of a kind.
pub fn parse_kind(text: &str) -> Result<RetransmitKind, NoSuchWord> {
    use RetransmitKind as K;
    [K::Unknown, K::Timeout, K::Fast, K::TailLossProbe, K::Reorder, K::SlowStart, K::Syn, K::Synack]
        .into_iter()
        .find(|&known| kind(known) == text)
        .ok_or(NoSuchWord(KINDS))
}

/// The kernel's word of a TCP state without `TCP_`.
pub fn state(state: TcpState) -> &'static str {
    STATES[state as usize]
}

/// Words of the TCP states as the kernel numbers them; 0 is none.
pub const STATES: &[&str; 13] = &[
    "NONE",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
];

/// Word of a direction.
pub fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Send => "send",
        Direction::Receive => "receive",
    }
}

/// Words of the congestion states (`TCP_CA_Open` ...), as the kernel numbers them.
const CA_STATES: &[&str; 5] = &["open", "disorder", "cwr", "recovery", "loss"];

/// Word of a congestion state.
pub fn ca_state(number: u8) -> &'static str {
    CA_STATES.get(usize::from(number)).unwrap_or(&"unknown")
}

/// Word of the timer that a socket waits for (`icsk_pending`).
pub fn timer(number: u8) -> &'static str {
    match number {
        0 => "none",
        1 => "retransmit",
        3 => "zero_window_probe",
        5 => "tail_loss_probe",
        6 => "reorder",
        _ => "unknown",
    }
}

macro_rules! named {
    ($($name:ident)*) => { &[$((libc::$name, stringify!($name)),)*] };
}

/// The errors that TCP, IP, the queueing disciplines and their netfilter hooks hand to a socket.
const ERRNOS: &[(i32, &str)] = named! {
    EPERM ENOENT EINTR EIO ENXIO EBADF EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST ENODEV EINVAL ENFILE EMFILE
    ENOSPC EPIPE EDOM ERANGE ENOSYS ENODATA ETIME ENONET ECOMM EPROTO EBADMSG EOVERFLOW EILSEQ EUSERS
    ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP
    EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED
    ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN
    EHOSTUNREACH EALREADY EINPROGRESS ESTALE EREMOTEIO EDQUOT ECANCELED EKEYREJECTED
};

/// Those that end a process.
const SIGNALS_THAT_KILL: &[(i32, &str)] = named! {
    SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE SIGALRM
    SIGTERM SIGSTKFLT SIGXCPU SIGXFSZ SIGVTALRM SIGPROF SIGIO SIGPWR SIGSYS
};

/// Name of a signal, or its number.
pub fn signal(number: u8) -> String {
    let known = SIGNALS_THAT_KILL.iter().find(|(value, _)| *value == i32::from(number));
    known.map_or_else(|| format!("signal {number}"), |(_, name)| (*name).to_owned())
}

/// `was killed by SIGKILL`, `exited with status 0`.
pub fn ended(exit: Exit) -> String {
    match (exit.oom, exit.signal(), exit.status()) {
        (true, _, _) => "was killed by the OOM killer".to_owned(),
        (false, Some(signal), _) => format!("was killed by {}", self::signal(signal)),
        (false, None, status) => format!("exited with status {}", status.unwrap_or_default()),
    }
}

/// Name of an errno (its sign does not matter), or its number.
pub fn errno(number: i32) -> String {
    let number = number.unsigned_abs();
    let known = ERRNOS.iter().find(|(value, _)| value.unsigned_abs() == number);
    known.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_word_reads_back() {
        for &word in EventWord::ALL {
            assert_eq!(word.as_str().parse(), Ok(word));
            assert_eq!(serde_json::to_string(&word).unwrap(), format!("\"{word}\""));
        }
        let wrong = "resets".parse::<EventWord>().unwrap_err().to_string();
        assert!(wrong.starts_with("not one of retransmit, synack_retransmit"), "{wrong}");
    }

    #[test]
    fn words_are_those_of_the_types() {
        for (number, word) in KINDS.iter().enumerate() {
            let kind = parse_kind(word).unwrap();
            assert_eq!(kind as usize, number);
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{word}\""));
        }
        for word in &STATES[1..] {
            let state: TcpState = serde_json::from_str(&format!("\"{word}\"")).unwrap();
            assert_eq!(super::state(state), *word);
        }
    }

    #[test]
    fn errors_have_names_or_numbers() {
        assert_eq!((signal(9), signal(40)), ("SIGKILL".to_owned(), "signal 40".to_owned()));
        assert_eq!(errno(110), "ETIMEDOUT");
        assert_eq!(errno(-113), "EHOSTUNREACH");
        assert_eq!(errno(i32::MIN), "2147483648");
        assert_eq!(errno(512), "512");
    }
}
