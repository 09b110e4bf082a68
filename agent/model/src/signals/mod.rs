//! One file a signal: its type, how it is read of a record, what a timeline keeps of it and says of it, what its
//! line has beside others, and what it answers to what the stages ask of any signal ([`Signal`]).
//!
//! The table is [`agent_common::signals`]: a row without its file does not compile, nor does a file without the
//! answers of [`Recorded`]. Words that need more of a line than its sections stand in the program's text.

use agent_common::{record, signal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::decode::{DecodeError, read_detail};
use crate::event::{HostFacts, KernelEvent, TcpState};
use crate::words::EventWord;

mod answers;
pub mod buf_limit_exceeded;
pub mod packet_dropped;
pub mod rcvqueue_full;
mod recovered;
pub mod reset_received;
pub mod reset_sent;
pub mod retransmit;
mod sock_destroyed;
mod sock_held;
pub mod state_changed;
pub mod synack_retransmit;

pub use self::answers::{Describe, Kept, Known, Mark, Reason, Recorded, Signal, Way};
pub use self::recovered::Recovered;
pub use self::sock_held::SockHeld;

/// What the lines of some signals have beside all others, each section under its name; those that a signal does not
/// have are left out.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sections {
    /// Of `retransmit` and `synack_retransmit`.
    pub retransmit: Option<retransmit::Section>,
    /// Of `reset_sent`.
    pub reset: Option<reset_sent::Section>,
    /// Of `state_changed`.
    pub state_change: Option<state_changed::Section>,
    /// Of `buf_limit_exceeded`.
    pub memory: Option<BufLimitExceeded>,
    /// Of `rcvqueue_full`.
    pub queue: Option<RcvqueueFull>,
    /// Of `packet_dropped`.
    pub drop: Option<packet_dropped::Section>,
    /// Of `synack_retransmit`, and of a listener's `state_changed` and `packet_dropped`.
    pub listener: Option<ListenerQueues>,
}

/// Queues of a listener.
#[skip_serializing_none]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerQueues {
    /// Half-open connections.
    pub syn_queue: Option<u32>,
    /// Connections waiting for accept.
    pub accept_queue: u32,
    /// Limit of the accept queue.
    pub backlog: u32,
}

macro_rules! events {
    (
        events { $($(#[$doc:meta])* $NUMBER:ident $word:ident $Variant:ident { $($column:tt)* })* }
        $($others:tt)*
    ) => {
        $(pub use self::$word::$Variant;)*

        /// What only the signal of an event has.
        #[derive(Clone, Debug)]
        #[expect(missing_docs, reason = "the types have them")]
        pub enum Detail { $($Variant($Variant),)* }

        impl Detail {
            /// Reads the part of a `record`, of which `bytes` are all, that only its signal has.
            pub(crate) fn decode(bytes: &[u8], record: &record::Record) -> Result<Self, DecodeError> {
                let header = &record.header;
                Ok(match header.signal {
                    $(signal::$NUMBER => Self::$Variant($Variant::decode(read_detail(bytes)?, header)?),)*
                    unknown => return Err(DecodeError::Signal(unknown)),
                })
            }

            /// Its number, one of [`agent_common::signal`].
            pub fn number(&self) -> u16 {
                match self { $(Self::$Variant(_) => signal::$NUMBER,)* }
            }

            /// What answers for it.
            pub fn as_signal(&self) -> &dyn Signal {
                match self { $(Self::$Variant(signal) => signal,)* }
            }
        }

        impl EventWord {
            /// How lines and pictures mark it.
            pub fn mark(self) -> Mark {
                match self { $(Self::$Variant => $Variant::MARK,)* }
            }

            /// Which way it went, where its section does not say.
            pub fn way(self) -> Way {
                match self { $(Self::$Variant => $Variant::WAY,)* }
            }
        }

        /// What a timeline keeps of something that happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "the types have them")]
        pub enum What {
            $($Variant(<$Variant as Recorded>::Kept),)*
            Recovered(Recovered),
        }

        impl What {
            /// From the event, whose stage is `stage`.
            pub fn of(event: &KernelEvent, stage: Option<u32>) -> Self {
                match &event.detail { $(Detail::$Variant(signal) => Self::$Variant(signal.keep(event, stage)),)* }
            }

            /// One for both, if `next` only continues this.
            pub fn joined_by(&self, next: &Self) -> Option<Self> {
                match self {
                    $(Self::$Variant(kept) => {
                        let Self::$Variant(next) = next else { return None };
                        kept.joined_by(next).map(Self::$Variant)
                    })*
                    Self::Recovered(_) => None,
                }
            }

            fn as_described(&self) -> &dyn Describe {
                match self {
                    $(Self::$Variant(kept) => kept,)*
                    Self::Recovered(kept) => kept,
                }
            }
        }
    };
}

agent_common::signals! { events }

impl Describe for What {
    fn text(&self, host: &HostFacts) -> String {
        self.as_described().text(host)
    }

    fn stage(&self) -> Option<u8> {
        self.as_described().stage()
    }

    fn rto(&self) -> Option<u32> {
        self.as_described().rto()
    }

    fn states(&self) -> Option<(TcpState, TcpState)> {
        self.as_described().states()
    }
}

/// At most `most`.
fn narrow<T>(value: impl TryInto<T>, most: T) -> T {
    value.try_into().unwrap_or(most)
}

fn errno(err: i32) -> i16 {
    narrow(err, i16::MAX)
}
