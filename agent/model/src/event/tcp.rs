//! What a full TCP socket knew.

use agent_common::record::{self, ABSENT8, ABSENT32, ABSENT64};

/// What a full TCP socket knew. The raw values as the kernel keeps them; methods give the derived ones.
#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    /// The socket. Times in jiffies unless named otherwise; see [`super::HostFacts::hz`].
    pub raw: record::Tcp,
    /// Its namespace's settings.
    pub netns: record::Netns,
    /// What was counted of it, this event included.
    pub totals: record::Totals,
}

impl Tcp {
    /// Bytes received in order that the application has not read, as FIONREAD tells them (`tcp_inq`): a
    /// received FIN, which takes a sequence number, is known by `SOCK_DONE`. `sk_shutdown` is no witness,
    /// since `close()` sets it before it resets.
    pub fn unread_bytes(&self) -> u32 {
        let unread = self.raw.rcv_nxt.wrapping_sub(self.raw.copied_seq);
        unread.saturating_sub(u32::from(self.raw.sock_flags & SOCK_DONE != 0))
    }

    /// Bytes the application wrote that were never sent; with [`Self::unacked_bytes`] what TIOCOUTQ tells
    /// of an established connection. Once the application closed, its FIN counts one.
    pub fn unsent_bytes(&self) -> u32 {
        self.raw.write_seq.wrapping_sub(self.raw.snd_nxt)
    }

    /// Bytes sent and not acknowledged; a SYN or FIN counts one.
    pub fn unacked_bytes(&self) -> u32 {
        self.raw.snd_nxt.wrapping_sub(self.raw.snd_una)
    }

    /// Smoothed round trip time, µs (the kernel keeps eight times that).
    pub fn srtt_us(&self) -> u32 {
        self.raw.srtt_us >> 3
    }

    /// `icsk_rto_max`, jiffies; `None` before 6.15.
    pub fn rto_max(&self) -> Option<u32> {
        present32(self.raw.rto_max)
    }

    /// `icsk_rto_min`, jiffies.
    pub fn rto_min(&self) -> Option<u32> {
        present32(self.raw.rto_min)
    }

    /// Timeouts in this connection's life; `None` before 6.7.
    pub fn total_rto(&self) -> Option<u32> {
        present32(self.raw.total_rto)
    }

    /// Expiry of the pending timer, jiffies.
    pub fn timer_expires(&self) -> Option<u64> {
        (self.raw.timer_expires != ABSENT64).then_some(self.raw.timer_expires)
    }

    /// Expiry of the keepalive timer, jiffies.
    pub fn keepalive_expires(&self) -> Option<u64> {
        (self.raw.keepalive_expires != ABSENT64).then_some(self.raw.keepalive_expires)
    }

    /// Last data received, jiffies (32 bit); `None` before any.
    pub fn lrcvtime(&self) -> Option<u32> {
        Some(self.raw.lrcvtime).filter(|&at| at != 0)
    }

    /// `tcp_syn_linear_timeouts` of the namespace; `None` before 6.5.
    pub fn syn_linear_timeouts(&self) -> Option<u8> {
        (self.netns.syn_linear_timeouts != ABSENT8).then_some(self.netns.syn_linear_timeouts)
    }

    /// `tcp_rmem[2]` of the namespace, bytes.
    pub fn rmem(&self) -> Option<u32> {
        present32(self.netns.rmem)
    }

    /// `tcp_wmem[2]` of the namespace, bytes.
    pub fn wmem(&self) -> Option<u32> {
        present32(self.netns.wmem)
    }

    /// No file refers to the socket any more: the application closed it (`SOCK_DEAD`).
    pub fn is_orphan(&self) -> bool {
        self.raw.sock_flags & 1 != 0
    }
}

/// Bit of `skc_flags` that `tcp_fin` sets.
const SOCK_DONE: u64 = 1 << 1;

fn present32(value: u32) -> Option<u32> {
    (value != ABSENT32).then_some(value)
}
