//! What only the daemon needs of the table.

use core::fmt;
use core::ops::Range;

use super::END;
use crate::count::{FAILED, REASON_ABSENT};
use crate::retransmit;

/// How a program is attached. All by bpf() alone: `perf_event_open` is refused to CAP_PERFMON on stock
/// Debian and Ubuntu (`kernel.perf_event_paranoid` 3 and 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `tp_btf/NAME`
    Tracepoint(&'static str),
    /// `iter/NAME`, run on demand.
    Iterator(&'static str),
    /// `fentry/NAME`: the entry of a function that has no tracepoint with what is wanted.
    Function(&'static str),
}

/// As the object's sections are named.
impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tracepoint(name) => write!(f, "tp_btf/{name}"),
            Self::Iterator(name) => write!(f, "iter/{name}"),
            Self::Function(name) => write!(f, "fentry/{name}"),
        }
    }
}

/// What the counters of a signal distinguish: the meaning of [`crate::count::CountKey::detail`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// [`retransmit`], perhaps with [`FAILED`].
    Kind,
    /// `enum sk_rst_reason` of the running kernel, or [`REASON_ABSENT`].
    Reason,
    /// A TCP state.
    State,
    /// `SK_MEM_SEND`, `SK_MEM_RECV`.
    Direction,
    /// `enum skb_drop_reason` of the running kernel.
    DropReason,
    /// Always 0, or the signal is not counted.
    Nothing,
}

/// A row of the table: a hook and its program.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// The program's name, which is the signal's word.
    pub name: &'static str,
    /// The number in its records; `None` of those that only count.
    pub signal: Option<u16>,
    /// Where it sits.
    pub hook: Hook,
    /// First kernel that has it, with all that the program calls.
    pub since: &'static str,
    /// Without it the agent does not start.
    pub required: bool,
    /// What its counters distinguish.
    pub by: By,
    /// The values of [`crate::count::CountKey::detail`] that come up.
    pub counted: &'static [Range<u16>],
    /// What is lost without it.
    pub without: &'static str,
}

/// Reasons of resets end at 25 on 7.3; twice that is room to grow.
const RESET_REASONS: u16 = 50;
/// Reasons of drops end at 128 on 6.18; the kernel side's masks have as much room.
const DROP_REASONS: u16 = 192;
/// `TCP_ESTABLISHED` to `TCP_NEW_SYN_RECV`.
const STATES: Range<u16> = 1..13;

macro_rules! probes {
    (events { $($event:tt)* } found { $($found:tt)* } counters { $($counter:tt)* }) => {
        probes! { @ [$($event)* $($found)*] [$($counter)*] }
    };
    (@ [$($(#[$doc:meta])* $NUMBER:ident $word:ident $Type:ident {
        number: $number:literal, hook: $hook:ident($kernel:literal), since: $since:literal, need: $need:ident,
        detail: $detail:tt, counted: by $by:ident in [$($range:expr),*], without: $without:literal,
    })*] [$($(#[$cdoc:meta])* $CNAME:ident $cword:ident {
        hook: $chook:ident($ckernel:literal), since: $csince:literal, need: $cneed:ident, without: $cwithout:literal,
    })*]) => {
        /// The words, one a constant.
        pub mod word {
            $(
                #[doc = concat!("[`crate::signal::", stringify!($NUMBER), "`]")]
                pub const $NUMBER: &str = stringify!($word);
            )*
            $($(#[$cdoc])* pub const $CNAME: &str = stringify!($cword);)*
        }

        /// Every probe, in the order of their numbers; then those that only count.
        pub const PROBES: &[Probe] = &by_number([
            $(Probe {
                name: word::$NUMBER,
                signal: Some(super::$NUMBER),
                hook: Hook::$hook($kernel),
                since: $since,
                required: required!($need),
                by: By::$by,
                counted: &[$($range),*],
                without: $without,
            },)*
            $(Probe {
                name: word::$CNAME,
                signal: None,
                hook: Hook::$chook($ckernel),
                since: $csince,
                required: required!($cneed),
                by: By::Nothing,
                counted: &[],
                without: $cwithout,
            },)*
        ]);

        const _: () = {
            $(assert!(word::$NUMBER.eq_ignore_ascii_case(stringify!($NUMBER)), "one signal, one word");)*
            $(assert!(word::$CNAME.eq_ignore_ascii_case(stringify!($CNAME)), "one signal, one word");)*
        };
    };
}

crate::signals! { probes }

/// Each number has a row of its own, of which `numbers!` makes sure.
const fn by_number<const N: usize>(rows: [Probe; N]) -> [Probe; N] {
    let (mut probes, mut row) = (rows, 0);
    while row < N {
        if let Some(number) = rows[row].signal {
            probes[number as usize - 1] = rows[row];
        }
        row += 1;
    }
    probes
}

/// Words of the signals by number; 0 is none.
pub const WORDS: &[&str; END as usize] = &{
    let (mut words, mut number) = ([""; END as usize], 1);
    while number < words.len() {
        words[number] = PROBES[number - 1].name;
        number += 1;
    }
    words
};

impl Probe {
    /// That of a signal.
    pub fn of(signal: u16) -> Option<&'static Self> {
        PROBES.iter().find(|probe| probe.signal == Some(signal))
    }

    /// That with this word.
    pub fn named(word: &str) -> Option<&'static Self> {
        PROBES.iter().find(|probe| probe.name == word)
    }
}
