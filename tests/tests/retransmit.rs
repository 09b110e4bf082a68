//! What the agent says of segments sent again.

use tests::agent::event::Event;
use tests::link::{Family, Pair};
use tests::live::{self, Silent, Watched, named, owned_by_this_process};
use tests::scenes::retransmit::{self, Resent};
use tests::snmp::Snmp;

/// Resends of one socket as the agent reported them, with the kernel's numbers.
struct Reported {
    family: Family,
    events: Vec<Event>,
    snmp: Snmp,
    total: u64,
}

impl Reported {
    /// Lets `scene` happen, closes its sockets and reads their lines.
    fn new(pair: Pair, family: Family, scene: impl FnOnce(&Pair) -> Resent) -> Result<Self, Silent> {
        let watched = Watched::new(pair);
        let resent = scene(&watched.pair);
        let (side, snmp, total) = (resent.side, resent.snmp.clone(), resent.total());
        drop(resent);
        let reported = Self { family, events: watched.of(side), snmp, total };
        if reported.all() < reported.snmp.get("TcpRetransSegs") { Err(Silent) } else { Ok(reported) }
    }

    /// Segments sent again, those that failed and SYN-ACKs too.
    fn all(&self) -> u64 {
        let synacks = named(&self.events, "synack_retransmit");
        let resends = self.resends().into_iter().chain(synacks);
        resends.map(|event| event.number("/retransmit/segments")).sum()
    }

    fn resends(&self) -> Vec<&Event> {
        named(&self.events, "retransmit")
    }

    /// Segments sent again for a reason, failures not counted.
    fn segments(&self, kind: &str) -> u64 {
        let resends = self.resends().into_iter().filter(|event| event.text("/retransmit/kind") == kind);
        resends.filter(|event| sent(event)).map(|event| event.number("/retransmit/segments")).sum()
    }

    /// The one line there is.
    fn only(&self) -> &Event {
        let resends = self.resends();
        assert_eq!(resends.len(), 1, "{resends:#?}");
        resends[0]
    }

    /// Asserts what each resend must show, whatever its kind.
    fn assert_all(&self, kind: &str, state: &str) {
        for event in self.resends() {
            assert_eq!(event.text("/retransmit/kind"), kind, "{event:?}");
            assert_eq!(event.text("/state"), state);
            assert_eq!(event.text("/family"), self.family.name());
            assert_eq!(event.stands_for(), 1);
            owned_by_this_process(event);
        }
    }
}

fn sent(event: &Event) -> bool {
    event.signed("/retransmit/err") == 0
}

/// Asserts that each timeout took twice as long as the one before, and that the kernel waited so long.
fn assert_doubling(resends: &[&Event]) {
    for (stage, event) in (1..).zip(resends) {
        assert_eq!(event.number("/retransmit/stage"), stage, "{event:?}");
        assert_eq!(event.number("/tcp/retransmits"), stage);
    }
    for pair in resends.windows(2) {
        let [before, after] = [pair[0], pair[1]].map(|event| event.number("/retransmit/rto_ms"));
        assert_eq!(after, 2 * before);
        let waited = pair[1].number("/monotonic_ns") - pair[0].number("/monotonic_ns");
        assert!(waited >= after * 1_000_000, "resent after {waited} ns, RTO {after} ms");
    }
}

#[test]
fn timeouts_show_their_stage_and_an_rto_that_doubles() {
    live::each(|family| {
        let reported =
            Reported::new(Pair::without_probes(), family, |pair| retransmit::timeouts(pair, family, 3))?;
        let resends = reported.resends();
        assert_eq!(resends.len(), 4);
        reported.assert_all("timeout", "ESTABLISHED");
        assert_doubling(&resends);
        // srtt + TCP_RTO_MIN (200 ms), rounded up to jiffies.
        let first = resends[0].number("/retransmit/rto_ms");
        assert!((200..=240).contains(&first), "RTO {first} ms");
        for event in resends {
            assert_eq!(event.number("/retransmit/segments"), 1);
            let length = event.number("/retransmit/end_seq").wrapping_sub(event.number("/retransmit/seq"));
            assert_eq!(length & 0xffff_ffff, retransmit::LENGTH as u64);
            assert!(event.text("/retransmit/flags").contains("ACK"));
            assert_eq!(event.number("/tcp/packets_out"), 1);
            assert_eq!(event.number("/tcp/unacked_bytes"), retransmit::LENGTH as u64);
        }
        Ok(())
    });
}

#[test]
fn totals_count_every_resend_of_the_connection() {
    live::each(|family| {
        let reported =
            Reported::new(Pair::without_probes(), family, |pair| retransmit::timeouts(pair, family, 2))?;
        let totals = reported.resends().into_iter().map(|event| event.number("/totals/segments/timeout"));
        assert_eq!(totals.collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(reported.total, 3);
        Ok(())
    });
}

#[test]
fn a_tail_loss_probe_is_one_line_of_its_kind() {
    live::each(|family| {
        let reported = Reported::new(Pair::new(), family, |pair| retransmit::tail_loss_probe(pair, family))?;
        reported.assert_all("tail_loss_probe", "ESTABLISHED");
        assert_eq!(reported.only().number("/tcp/retransmits"), 0, "a probe is no timeout");
        Ok(())
    });
}

#[test]
fn a_fast_retransmission_is_one_line_of_its_kind() {
    live::each(|family| {
        let reported = Reported::new(Pair::new(), family, |pair| retransmit::fast(pair, family))?;
        reported.assert_all("fast", "ESTABLISHED");
        assert!(reported.only().number("/tcp/sacked") > 0, "what arrived after the lost one shows it");
        Ok(())
    });
}

#[test]
fn after_a_timeout_the_rest_is_slow_start() {
    live::each(|family| {
        let reported =
            Reported::new(Pair::without_probes(), family, |pair| retransmit::slow_start(pair, family))?;
        assert_eq!(
            (reported.segments("timeout"), reported.segments("slow_start")),
            (1, 9),
            "{:#?}",
            reported.resends()
        );
        assert_eq!(reported.total, 10);
        Ok(())
    });
}

#[test]
fn a_lossy_transfer_adds_up_kind_by_kind() {
    live::each(|family| {
        let reported = Reported::new(Pair::new(), family, |pair| retransmit::lossy_transfer(pair, family))?;
        let fast = reported.segments("fast") + reported.segments("reorder");
        assert_eq!(fast, reported.snmp.get("TcpExtTCPFastRetrans"));
        assert_eq!(reported.segments("slow_start"), reported.snmp.get("TcpExtTCPSlowStartRetrans"));
        assert_eq!(reported.segments("timeout"), reported.snmp.get("TcpExtTCPTimeouts"));
        assert!(reported.segments("tail_loss_probe") <= reported.snmp.get("TcpExtTCPLossProbes"));
        assert_eq!(reported.segments("unknown"), 0);
        assert_eq!((reported.all(), reported.all()), (reported.total, reported.snmp.get("TcpRetransSegs")));
        Ok(())
    });
}

#[test]
fn a_syn_sent_again_shows_the_initial_rto() {
    live::each(|family| {
        let reported = Reported::new(Pair::new(), family, |pair| retransmit::syn(pair, family))?;
        reported.assert_all("syn", "SYN_SENT");
        let event = reported.only();
        assert_eq!((event.number("/retransmit/stage"), event.number("/retransmit/rto_ms")), (1, 1000));
        assert!(event.text("/retransmit/flags").contains("SYN"));
        Ok(())
    });
}

#[test]
fn a_synack_sent_again_is_reported_for_the_half_open_connection() {
    live::each(|family| {
        let reported = Reported::new(Pair::new(), family, |pair| retransmit::synack(pair, family))?;
        let synacks = named(&reported.events, "synack_retransmit");
        assert_eq!(synacks.len(), 1, "{:#?}", reported.events);
        assert_eq!(synacks[0].text("/retransmit/kind"), "synack");
        assert_eq!(synacks[0].number("/retransmit/stage"), 1);
        assert_eq!(synacks[0].text("/family"), family.name());
        owned_by_this_process(synacks[0]);
        assert!(reported.resends().is_empty());
        Ok(())
    });
}

#[test]
fn a_refused_retransmission_shows_its_error() {
    live::each(|family| {
        let reported =
            Reported::new(Pair::without_probes(), family, |pair| retransmit::refused(pair, family, 2))?;
        reported.assert_all("timeout", "ESTABLISHED");
        let errors = reported.resends().into_iter().map(|event| event.signed("/retransmit/err"));
        assert_eq!(errors.collect::<Vec<_>>(), [-1, -1, 0], "EPERM twice, then sent");
        let last = *reported.resends().last().expect("three resends");
        assert_eq!((last.number("/totals/failed"), last.number("/totals/segments/timeout")), (2, 1));
        Ok(())
    });
}

#[test]
fn a_closed_window_sends_nothing_again() {
    live::each(|family| {
        let reported =
            Reported::new(Pair::without_probes(), family, |pair| retransmit::zero_window(pair, family, 2))?;
        assert!(reported.resends().is_empty(), "{:#?}", reported.resends());
        Ok(())
    });
}

#[test]
fn resends_into_a_window_that_shrank_are_timeouts_of_stage_0() {
    live::each(|family| {
        let reported =
            Reported::new(Pair::without_probes(), family, |pair| retransmit::shrunk_window(pair, family, 3))?;
        reported.assert_all("timeout", "ESTABLISHED");
        assert!(reported.resends().len() >= 3);
        for event in reported.resends() {
            assert_eq!((event.number("/tcp/snd_wnd"), event.number("/tcp/retransmits")), (0, 0));
        }
        Ok(())
    });
}
