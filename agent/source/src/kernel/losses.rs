//! What this kernel cannot show, in words for whoever asks (`tcpwhy check`, docs/kernels.md).

use agent_common::layout::{ABSENT, Kernel};
use agent_common::signal::word;

use super::probes::{ProbeState, ProbeStatus};

/// Something that cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The probe that would show it; none if it is no single one's.
    pub probe: Option<&'static str>,
    /// What, in words.
    pub what: &'static str,
}

/// Everything that is lost, whole probes first.
pub fn of(kernel: &Kernel, probes: &[ProbeStatus]) -> Vec<Loss> {
    let down = probes.iter().filter(|status| status.state != ProbeState::Up);
    let down = down.map(|ProbeStatus { probe, .. }| Loss { probe: Some(probe.name), what: probe.without });
    let hidden = hidden(kernel).into_iter().filter(|(is_hidden, _)| *is_hidden);
    down.chain(hidden.map(|(_, loss)| loss)).collect()
}

/// What programs that run cannot say. A field that is absent because the kernel has not got what it
/// stands for is no loss.
fn hidden(kernel: &Kernel) -> [(bool, Loss); 5] {
    let layout = &kernel.layout;
    let timers = [layout.icsk_timeout, layout.icsk_retransmit_expires, layout.sk_retransmit_expires];
    let of = |probe, what| Loss { probe: Some(probe), what };
    [
        (
            kernel.reset_reason == 0,
            of(word::RESET_SENT, "why a reset is sent, and resets that no full socket sends (before 6.10)"),
        ),
        (
            kernel.retransmit_err == 0,
            of(word::RETRANSMIT, "retransmissions that fail on this host (before 6.17)"),
        ),
        (
            kernel.socket_cookie == 0,
            Loss {
                probe: None,
                what: "cookies of sockets: connections are told apart by time (before 5.12)",
            },
        ),
        (timers == [ABSENT; 3], of(word::RETRANSMIT, "when the retransmission timer fires")),
        (
            layout.tcp_total_rto == ABSENT,
            of(word::RETRANSMIT, "timeouts in a connection's life before it was first seen (before 6.7)"),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_lost() {
        let mut kernel = Kernel { reset_reason: 1, retransmit_err: 1, socket_cookie: 1, ..Kernel::ABSENT };
        kernel.layout.icsk_timeout = 8;
        kernel.layout.tcp_total_rto = 8;
        assert!(of(&kernel, &[]).is_empty());
        kernel.retransmit_err = 0;
        assert_eq!(of(&kernel, &[]).len(), 1);
    }
}
