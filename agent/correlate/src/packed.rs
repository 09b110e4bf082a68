//! What a socket knew, packed: most of its numbers are 0, and there may be 50,000 of these.

use std::fmt;
use std::mem::offset_of;

use agent_common::record;
use agent_model::event::Tcp;
use zerocopy::transmute;

/// 32-bit words of its parts, and of all.
const RAW: usize = size_of::<record::Tcp>() / 4;
const NETNS: usize = size_of::<record::Netns>() / 4;
const TOTALS: usize = size_of::<record::Totals>() / 4;
const WORDS: usize = RAW + NETNS + TOTALS;
/// Words of a mask with a bit for each.
const MASK: usize = WORDS.div_ceil(32);
/// Where the three counts lie that a peer which answers keeps at 0, in one word.
const UNANSWERED: usize = offset_of!(record::Tcp, retransmits);
const RTO: usize = offset_of!(record::Tcp, rto);
const HAS_SOCKET: usize = offset_of!(record::Tcp, has_socket);

const _: () = assert!(
    UNANSWERED.is_multiple_of(4)
        && offset_of!(record::Tcp, backoff) == UNANSWERED + 1
        && offset_of!(record::Tcp, probes_out) == UNANSWERED + 2
        && RTO.is_multiple_of(4)
);

/// A [`Tcp`]: a mask of the words that are not 0, and these.
#[derive(Clone)]
pub struct Packed(Box<[u32]>);

impl Packed {
    /// Packs what a socket knew.
    pub fn new(tcp: &Tcp) -> Self {
        let (packed, len) = pack(&words(tcp));
        Self(packed[..len].into())
    }

    /// Packs what it knows now into the same place, if it is as long.
    pub fn set(&mut self, tcp: &Tcp) {
        let (packed, len) = pack(&words(tcp));
        match packed[..len] {
            ref new if new.len() == self.0.len() => self.0.copy_from_slice(new),
            ref new => self.0 = new.into(),
        }
    }

    /// What it knew.
    pub fn get(&self) -> Tcp {
        let (mask, values) = self.0.split_at(MASK);
        let (mut words, mut values) = ([0; WORDS], values.iter());
        for (at, &bits) in mask.iter().enumerate() {
            let mut bits = bits;
            while bits != 0 {
                words[at * 32 + bits.trailing_zeros() as usize] =
                    *values.next().expect("a word for each bit");
                bits &= bits - 1;
            }
        }
        tcp(&words)
    }

    /// As of the whole; asked several times at each event, so nothing else is unpacked for it.
    pub fn is_stalled(&self) -> bool {
        let [retransmits, backoff, probes_out, _] = self.word(UNANSWERED / 4).to_ne_bytes();
        retransmits | backoff | probes_out != 0
    }

    /// `icsk_rto`, jiffies; without unpacking the rest, too.
    pub fn rto(&self) -> u32 {
        self.word(RTO / 4)
    }

    /// Whether a file refers to the socket, likewise.
    pub fn has_socket(&self) -> bool {
        self.word(HAS_SOCKET / 4).to_ne_bytes()[HAS_SOCKET % 4] != 0
    }

    fn word(&self, at: usize) -> u32 {
        let (mask, values) = self.0.split_at(MASK);
        let (before, bit) = (&mask[..at / 32], 1 << (at % 32));
        let last = mask[at / 32];
        if last & bit == 0 {
            return 0;
        }
        let before: u32 = before.iter().map(|bits| bits.count_ones()).sum();
        values[(before + (last & (bit - 1)).count_ones()) as usize]
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(formatter)
    }
}

fn pack(words: &[u32; WORDS]) -> ([u32; MASK + WORDS], usize) {
    let (mut packed, mut len) = ([0; MASK + WORDS], MASK);
    for (at, &word) in words.iter().enumerate().filter(|(_, word)| **word != 0) {
        packed[at / 32] |= 1 << (at % 32);
        packed[len] = word;
        len += 1;
    }
    (packed, len)
}

fn words(tcp: &Tcp) -> [u32; WORDS] {
    let Tcp { raw, netns, totals } = *tcp;
    let (raw, netns, totals): ([u32; RAW], [u32; NETNS], [u32; TOTALS]) =
        (transmute!(raw), transmute!(netns), transmute!(totals));
    let mut words = [0; WORDS];
    let parts = raw.into_iter().chain(netns).chain(totals);
    words.iter_mut().zip(parts).for_each(|(word, part)| *word = part);
    words
}

fn tcp(words: &[u32; WORDS]) -> Tcp {
    let raw: [u32; RAW] = std::array::from_fn(|at| words[at]);
    let netns: [u32; NETNS] = std::array::from_fn(|at| words[RAW + at]);
    let totals: [u32; TOTALS] = std::array::from_fn(|at| words[RAW + NETNS + at]);
    Tcp { raw: transmute!(raw), netns: transmute!(netns), totals: transmute!(totals) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::connection::is_stalled;

    proptest! {
        #[test]
        fn what_is_packed_comes_back(sparse in prop::collection::vec((0..WORDS, any::<u32>()), 0..WORDS)) {
            let mut all = [0; WORDS];
            for (at, word) in sparse {
                all[at] = word;
            }
            let mut packed = Packed::new(&tcp(&[1; WORDS]));
            packed.set(&tcp(&all));
            prop_assert_eq!(words(&packed.get()), all);
            prop_assert_eq!(words(&Packed::new(&tcp(&all)).get()), all);
            let whole = tcp(&all);
            prop_assert_eq!(packed.is_stalled(), is_stalled(&whole));
            prop_assert_eq!(packed.rto(), whole.raw.rto);
            prop_assert_eq!(packed.has_socket(), whole.raw.has_socket != 0);
            for (at, word) in all.into_iter().enumerate() {
                prop_assert_eq!(packed.word(at), word);
            }
        }
    }

    #[test]
    fn an_idle_socket_takes_little() {
        let packed = Packed::new(&tcp(&[0; WORDS]));
        assert_eq!(size_of_val(&*packed.0), 12);
    }
}
