//! Resets sent and received.

use agent_common::signal::word;
use agent_model::event::{Detail, KernelEvent, TcpState};
use agent_model::signals::reset_received::Arrival;
use agent_model::signals::{ResetReceived, ResetSent};
use tests::link::Pair;
use tests::scenes::origin;
use tests::scenes::reset::{self, Reset};
use tests::skip::skip;

use crate::running;
use crate::watch::{self, watch};

/// A reset that was sent: why, the stack of an active one, and whether it answered a segment.
fn sent(event: &KernelEvent) -> Option<(Option<i32>, Option<i32>, bool)> {
    let Detail::ResetSent(ResetSent { reason, stack, trigger, .. }) = event.detail else { return None };
    Some((reason, stack, trigger.is_some()))
}

fn received(event: &KernelEvent) -> Option<KernelEvent> {
    matches!(event.detail, Detail::ResetReceived(_)).then(|| event.clone())
}

/// The packet of a RST that came to the client of `pair`.
fn arrival(pair: &Pair) -> Arrival {
    let event = watch().some(&pair.client, "reset_received", received);
    let Detail::ResetReceived(ResetReceived { arrival }) = event.detail else { panic!("{event:?}") };
    arrival.unwrap_or_else(|| panic!("its packet was not seen: {event:?}"))
}

/// One cable away, with data of the same peer unread and without, and in SYN_SENT.
#[test]
fn a_received_reset_shows_how_far_it_came() {
    let test = "a_received_reset_shows_how_far_it_came";
    if !watch().is_up(word::RESET_SEGMENT) {
        return skip(test, "this kernel runs no program at the entry of tcp_reset");
    }
    // `Pair` gives the client's device this number.
    let arrived = |peer_ttl| Arrival { ttl: 64, ifindex: Some(11), peer_ttl };
    watch::each(|family| {
        let pair = watch::pair();
        origin::by_peer(&pair, family, 100);
        assert_eq!(arrival(&pair), arrived(Some(64)));
        let pair = watch::pair();
        origin::by_peer(&pair, family, 0);
        assert_eq!(arrival(&pair), arrived(None));
        let pair = watch::pair();
        reset::no_socket(&pair, family);
        assert_eq!(arrival(&pair), arrived(None));
    });
}

/// Waits for the reset that the server's side of `reset` sent.
fn sent_by_server(pair: &Pair, reset: &Reset) -> KernelEvent {
    watch().some(&pair.server, "reset_sent", |event| {
        let ends = (event.endpoint.local, event.endpoint.remote);
        (sent(event).is_some() && ends == (reset.sender.local, reset.sender.remote)).then(|| event.clone())
    })
}

/// From 6.10 on each reset is traced with a reason, in the words of today since 6.12.
fn assert_reason(event: &KernelEvent, reset: &Reset) {
    let (reason, _, answers) = sent(event).expect("reset_sent");
    assert_eq!(answers, !reset.active);
    assert_eq!(reason.is_some(), running::since(6, 10));
    if running::since(6, 12) {
        assert_eq!(reason.map(|number| watch().reason(number)).as_deref(), Some(reset.reason));
    }
}

#[test]
fn a_closed_port_resets_without_a_socket() {
    watch::each(|family| {
        let pair = watch::pair();
        let reset = reset::no_socket(&pair, family);
        let at_client = watch().some(&pair.client, "reset_received", received);
        assert_eq!(at_client.endpoint.state, Some(TcpState::SynSent));
        assert_eq!(at_client.endpoint.remote, reset.sender.local);
        if running::since(6, 10) {
            let event = sent_by_server(&pair, &reset);
            assert_reason(&event, &reset);
            assert_eq!((event.endpoint.sk, event.tcp.is_some()), (None, false));
        } else {
            assert!(watch().settled(&pair.server).iter().all(|event| sent(event).is_none()));
        }
    });
}

#[test]
fn a_close_with_unread_data_says_how_much() {
    watch::each(|family| {
        let pair = watch::pair();
        let reset = reset::abort_on_close(&pair, family, 5);
        let event = sent_by_server(&pair, &reset);
        assert_reason(&event, &reset);
        assert_eq!(event.tcp.expect("a full socket").unread_bytes(), 5);
        // Of this process, or of a child that another test forks at this instant and that closes last.
        assert!(event.current.is_some(), "close() holds the lock");
        let (_, stack, _) = sent(&event).expect("reset_sent");
        match stack.map(|id| watch().stack(id)) {
            Some(stack) => assert!(stack.iter().any(|name| &**name == "tcp_close"), "{stack:?}"),
            // Only the first few of a tick have one, whoever's they are.
            None => assert!(watch().resets_beside(&event) >= 2, "{event:?}"),
        }
        let at_client = watch().some(&pair.client, "reset_received", received);
        assert_eq!(at_client.endpoint.state, Some(TcpState::Established));
    });
}

#[test]
fn data_after_a_close_meets_a_mini_socket() {
    watch::each(|family| {
        let pair = watch::pair();
        let reset = reset::time_wait(&pair, family);
        if running::since(6, 10) {
            let event = sent_by_server(&pair, &reset);
            assert_reason(&event, &reset);
            assert!(event.endpoint.time_wait && event.tcp.is_none());
        } else {
            assert!(watch().settled(&pair.server).iter().all(|event| sent(event).is_none()));
        }
    });
}

#[test]
fn linger_zero_resets() {
    watch::each(|family| {
        let pair = watch::pair();
        let reset = reset::linger(&pair, family);
        assert_reason(&sent_by_server(&pair, &reset), &reset);
    });
}

/// Data that meets a closed receive side makes the kernel reset itself: both tracepoints fire.
#[test]
fn data_after_shutdown_resets_both_ways() {
    watch::each(|family| {
        let pair = watch::pair();
        let reset = reset::data_after_shutdown(&pair, family);
        let event = sent_by_server(&pair, &reset);
        assert_reason(&event, &reset);
        assert!(event.tcp.is_some());
        watch().some(&pair.server, "reset_received without one", received);
    });
}

#[test]
fn a_full_accept_queue_resets_a_half_open_connection() {
    watch::each(|family| {
        let pair = watch::pair();
        let reset = reset::accept_queue_overflow(&pair, family);
        let event = sent_by_server(&pair, &reset);
        assert_reason(&event, &reset);
        assert!(event.endpoint.request, "{:?}", event.endpoint);
    });
}
