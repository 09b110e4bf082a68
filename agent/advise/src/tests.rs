use std::collections::{BTreeMap, VecDeque};

use agent_diagnose::families::{FamilyRow, Listens};
use agent_diagnose::outcomes::{Loss, Retries};
use agent_model::event::{LogLines, Process, TcpMemory};
use agent_model::schema::End;

use super::*;

const NETNS: u32 = 4_026_531_840;

fn settings(values: &[(&str, &[u64])]) -> Settings {
    let values = values.iter().map(|(name, values)| ((*name).into(), values.to_vec()));
    Settings { netns: NETNS, values: values.collect(), ..Settings::default() }
}

/// A host as it is after its installation.
fn untouched() -> Gathered {
    let settings = settings(&[
        ("net.core.netdev_max_backlog", &[1000]),
        ("net.core.rmem_max", &[212_992]),
        ("net.core.somaxconn", &[4096]),
        ("net.core.wmem_max", &[212_992]),
        ("net.ipv4.conf.all.rp_filter", &[1]),
        ("net.ipv4.tcp_keepalive_intvl", &[75]),
        ("net.ipv4.tcp_keepalive_probes", &[9]),
        ("net.ipv4.tcp_keepalive_time", &[7200]),
        ("net.ipv4.tcp_max_orphans", &[65_536]),
        ("net.ipv4.tcp_max_syn_backlog", &[1024]),
        ("net.ipv4.tcp_mem", &[100_000, 150_000, 200_000]),
        ("net.ipv4.tcp_orphan_retries", &[0]),
        ("net.ipv4.tcp_retries2", &[15]),
        ("net.ipv4.tcp_rmem", &[4096, 131_072, 6_291_456]),
        ("net.ipv4.tcp_syn_linear_timeouts", &[4]),
        ("net.ipv4.tcp_syn_retries", &[6]),
        ("net.ipv4.tcp_synack_retries", &[5]),
        ("net.ipv4.tcp_wmem", &[4096, 16_384, 4_194_304]),
    ]);
    let memory = TcpMemory {
        pages: 1000,
        limits: [100_000, 150_000, 200_000],
        max_orphans: 65_536,
        ..TcpMemory::default()
    };
    Gathered {
        watched_ms: Some(7_200_000),
        page_size: 4096,
        settings: vec![settings],
        memory: Some(memory),
        entrances: BTreeMap::from([(NETNS, String::new())]),
        ..Gathered::default()
    }
}

fn recoveries(stages: &[(u32, u64)]) -> Vec<Recovery> {
    let one = |&(stage, count)| Recovery { waiting: Waiting::Data, stage, rto_ms: 204, count };
    stages.iter().map(one).collect()
}

fn loss(cause: Cause, waiting: Waiting, lived_ms: u64) -> Loss {
    let process = Some(Process { pid: 7, comm: "app".into() });
    Loss { cause, waiting, stage: 15, rto_ms: 204, lived_ms, process }
}

fn outcome(recoveries: Vec<Recovery>, losses: impl IntoIterator<Item = Loss>) -> Outcome {
    let losses: VecDeque<_> = losses.into_iter().collect();
    let mut deaths = BTreeMap::new();
    for loss in &losses {
        *deaths.entry(loss.cause).or_default() += 1;
    }
    Outcome { netns: NETNS, retries: None, recoveries, losses, deaths }
}

fn advice_on<'a>(report: &'a AdviceReport, setting: &str) -> &'a Advice {
    let found = report.advice.iter().find(|advice| advice.setting == setting);
    found.unwrap_or_else(|| panic!("no {setting} in {report:#?}"))
}

#[test]
fn an_untouched_host_has_nothing_to_change() {
    let report = advise(&untouched(), None);
    assert!(report.advice.is_empty(), "{report:#?}");
    let looked_at = report.looked_at.join("\n");
    for part in ["2.0 hours of history", "1000 of 200000 pages", "0 overflows", "0 deaths"] {
        assert!(looked_at.contains(part), "no {part} in {looked_at}");
    }
    let alone = advise(&Gathered::default(), None);
    assert!(alone.looked_at[0].starts_with("no history"));
}

/// T(15) is 924.6 s; T(8) is 102.2 s, and the first timeout past it, from an RTO of 204 ms, at 104.2 s.
#[test]
fn three_dead_connections_would_have_ended_14_minutes_sooner() {
    let dead = || loss(Cause::RetransmissionTimeout, Waiting::Data, 924_600);
    let outcome = outcome(recoveries(&[(1, 300), (3, 100), (6, 12)]), [dead(), dead(), dead()]);
    let report = advise(&Gathered { outcomes: vec![outcome], ..untouched() }, None);
    let advice = advice_on(&report, "net.ipv4.tcp_retries2");
    assert_eq!((advice.now.as_deref(), &*advice.proposed), (Some("15"), "8"));
    assert_eq!(advice.observation, "3 connections died of it, after 15 minutes without an answer");
    assert_eq!(
        advice.effect,
        "of 412 recoveries none came after stage 6; tcp_retries2=8 would have ended the 3 dead connections 14 \
         minutes sooner each and killed none that recovered"
    );
    assert_eq!(advice.command, "sysctl -w net.ipv4.tcp_retries2=8");
    let advice = advice_on(&report, "TCP_USER_TIMEOUT of app");
    // Stage 6 recovers before the seventh timeout at 25.9 s: twice that, in tens of seconds.
    assert_eq!(advice.proposed, "60000 ms");
    assert!(advice.effect.contains("14 minutes sooner"), "{advice:#?}");
}

#[test]
fn a_limit_that_would_have_killed_is_not_proposed() {
    let dead = || loss(Cause::RetransmissionTimeout, Waiting::Data, 924_600);
    let with = |stage| {
        let outcome = outcome(recoveries(&[(1, 5), (stage, 1)]), [dead()]);
        advise(&Gathered { outcomes: vec![outcome], ..untouched() }, None)
    };
    assert_eq!(advice_on(&with(10), "net.ipv4.tcp_retries2").proposed, "10");
    assert!(with(15).advice.is_empty(), "the last possible retransmission was needed");
}

#[test]
fn a_lowered_limit_is_raised_to_what_the_rfc_asks_in_the_namespace_that_has_it() {
    let retries = Retries {
        retries2: 3,
        syn_retries: 6,
        syn_linear: 4,
        orphan_retries: 0,
        rto_max_ms: 120_000,
        keepalive_time_ms: 7_200_000,
        keepalive_intvl_ms: 75_000,
        keepalive_probes: 9,
    };
    let dead = loss(Cause::RetransmissionTimeout, Waiting::Data, 3000);
    let outcome = Outcome { netns: 99, retries: Some(retries), ..outcome(recoveries(&[(2, 1)]), [dead]) };
    let entrances = BTreeMap::from([(NETNS, String::new()), (99, "nsenter -t 7 -n ".to_owned())]);
    let gathered = Gathered { outcomes: vec![outcome], entrances, ..untouched() };
    let report = advise(&gathered, None);
    let advice = advice_on(&report, "net.ipv4.tcp_retries2");
    assert_eq!((advice.netns, advice.now.as_deref(), &*advice.proposed), (Some(99), Some("3"), "8"));
    assert_eq!(
        advice.effect,
        "the one recovery came at stage 2; tcp_retries2=8 would have given the peers 104 s to come back instead of \
         3.0 s"
    );
    assert_eq!(advice.command, "nsenter -t 7 -n sysctl -w net.ipv4.tcp_retries2=8");
    assert!(advise(&gathered, Some(NETNS)).advice.is_empty(), "not that namespace");
}

#[test]
fn connects_in_vain_end_sooner() {
    let dead = || loss(Cause::ConnectTimeout, Waiting::Syn, 131_000);
    let outcome = outcome(Vec::new(), [dead(), dead(), dead()]);
    let report = advise(&Gathered { outcomes: vec![outcome], ..untouched() }, None);
    let advice = advice_on(&report, "net.ipv4.tcp_syn_retries");
    assert_eq!((advice.now.as_deref(), &*advice.proposed), (Some("6"), "3"));
    assert!(advice.observation.starts_with("3 connects waited 2 minutes in vain"), "{advice:#?}");
}

#[test]
fn what_the_hosts_counters_say_is_advice_without_an_agent() {
    let mut gathered = untouched();
    let memory = gathered.memory.as_mut().unwrap();
    memory.counters = [("TCPReqQFullDrop".into(), 40), ("TCPMemoryPressures".into(), 2)].into();
    memory.log = Some(LogLines { out_of_memory: 1, too_many_orphans: 3 });
    memory.pages = 160_000;
    let report = advise(&gathered, None);
    assert_eq!(advice_on(&report, "net.ipv4.tcp_mem").proposed, "150000 225000 300000");
    assert!(advice_on(&report, "net.ipv4.tcp_mem").observation.contains("(80 %)"));
    assert_eq!(advice_on(&report, "net.ipv4.tcp_max_orphans").proposed, "131072");
    assert!(advice_on(&report, "net.ipv4.tcp_max_orphans").risk.contains("4.0 GiB"));
    assert_eq!(advice_on(&report, "net.ipv4.tcp_max_syn_backlog").proposed, "4096");
    // 7 s in place of 63 s.
    assert!(advice_on(&report, "net.ipv4.tcp_synack_retries").effect.contains("room for 9 times as many"));
    // TCP is short of memory: less for each socket, not more.
    assert_eq!(advice_on(&report, "net.ipv4.tcp_rmem").proposed, "4096 131072 3145728");
}

#[test]
fn segments_thrown_away_with_memory_to_spare_ask_for_larger_buffers() {
    let mut gathered = untouched();
    gathered.memory.as_mut().unwrap().counters = [("TCPRcvQDrop".into(), 7)].into();
    gathered.capped = [2, 0];
    let report = advise(&gathered, None);
    assert_eq!(advice_on(&report, "net.ipv4.tcp_rmem").proposed, "4096 131072 12582912");
    assert_eq!(advice_on(&report, "net.core.rmem_max").proposed, "851968");
    assert_eq!(report.advice.len(), 2);
}

#[test]
fn connects_that_hardly_try_try_more() {
    let outcome = outcome(Vec::new(), [loss(Cause::ConnectTimeout, Waiting::Syn, 3000)]);
    let mut gathered = Gathered { outcomes: vec![outcome], ..untouched() };
    gathered.settings[0].values.insert("net.ipv4.tcp_syn_retries".into(), vec![1]);
    gathered.settings[0].values.insert("net.ipv4.tcp_syn_linear_timeouts".into(), vec![0]);
    let report = advise(&gathered, None);
    let advice = advice_on(&report, "net.ipv4.tcp_syn_retries");
    assert_eq!((advice.now.as_deref(), &*advice.proposed), (Some("1"), "3"));
    assert_eq!(advice.observation, "1 connect waited 3.0 s in vain");
    // 1 + 2 + 4 + 8 s.
    let effect = "no stall of the kind recovered; tcp_syn_retries=3 gives a connect up after 15 s";
    assert_eq!(advice.effect, effect);
}

#[test]
fn closed_sockets_that_crowd_out_others_are_given_up_sooner() {
    let dead = || loss(Cause::OrphanTimeout, Waiting::Orphan, 104_000);
    let outcome = outcome(Vec::new(), [dead(), dead()]);
    let mut gathered = Gathered { outcomes: vec![outcome], ..untouched() };
    assert!(advise(&gathered, None).advice.is_empty(), "there is room for more of them");
    gathered.memory.as_mut().unwrap().orphans = 32_768;
    let report = advise(&gathered, None);
    let advice = advice_on(&report, "net.ipv4.tcp_orphan_retries");
    assert_eq!((advice.now.as_deref(), &*advice.proposed), (Some("0"), "3"));
    assert!(advice.observation.starts_with("2 closed sockets held memory for 104 s"), "{advice:#?}");
    // From 204 ms: 0.2, 0.6, 1.4, 3.1 and 6.3 s, the first past T(3) = 3.0 s after the first of them.
    assert_eq!(advice.effect, "no stall of the kind recovered; each would be gone after 6.3 s");
}

/// A server whose listener holds `backlog`.
fn server(backlog: u32, waiting: u32) -> FamilyRow {
    let local = End::from("192.0.2.1:80".parse::<std::net::SocketAddr>().unwrap());
    FamilyRow {
        process: Process { pid: 100, comm: "httpd".into() },
        listens: vec![Listens { netns: NETNS, local, accept_queue: waiting, backlog }],
        connections: 0,
        sockets: 1,
        shared_sockets: 0,
        memory_bytes: 0,
        peak_memory_bytes: 0,
        memory_each_bytes: 0,
        peak_connections: 0,
        growth_per_second: None,
        children: 0,
        others: 0,
        forks_per_connection: false,
        forked: None,
        exited: None,
        members: Vec::new(),
        forecast: Vec::new(),
    }
}

#[test]
fn a_queue_that_overflowed_is_lengthened_where_it_is_set() {
    let mut gathered = Gathered { families: vec![server(128, 3)], ..untouched() };
    gathered.memory.as_mut().unwrap().counters = [("ListenOverflows".into(), 12)].into();
    let report = advise(&gathered, None);
    let advice = advice_on(&report, "backlog of httpd");
    assert_eq!((advice.now.as_deref(), &*advice.proposed), (Some("128 (somaxconn 4096)"), "1024"));
    assert_eq!(
        advice.observation,
        "12 overflows of an accept queue; that of httpd on 192.0.2.1:80 has 3 of 128"
    );
    assert_eq!(advice.effect, "a burst 8 times as large waits instead of being dropped");
    assert_eq!(advice.command, "in httpd: listen(fd, 1024)");
    gathered.families = vec![server(4096, 4097)];
    let report = advise(&gathered, None);
    let advice = advice_on(&report, "net.core.somaxconn");
    assert!(advice.observation.ends_with("full now: it accepts too slowly, which no queue cures"));
    assert_eq!(
        advice.command,
        "sysctl -w net.core.somaxconn=32768 && restart httpd (in httpd: listen(fd, 32768))"
    );
}

#[test]
fn programs_that_asked_for_more_than_they_may_have_get_more() {
    let report = advise(&Gathered { capped: [0, 3], ..untouched() }, None);
    let advice = advice_on(&report, "net.core.wmem_max");
    assert_eq!((advice.now.as_deref(), &*advice.proposed), (Some("212992"), "851968"));
    assert!(advice.observation.starts_with("3 connections in trouble whose SO_SNDBUF is exactly"));
    assert!(advice.effect.starts_with("SO_SNDBUF up to 832.0 KiB is granted"), "{advice:#?}");
    assert_eq!(report.advice.len(), 1);
}

#[test]
fn a_keepalive_that_finds_the_dead_after_hours_is_shortened() {
    let mut outcome = outcome(Vec::new(), []);
    outcome.deaths.insert(Cause::KeepaliveTimeout, 4);
    let report = advise(&Gathered { outcomes: vec![outcome], ..untouched() }, None);
    let advice = advice_on(&report, "net.ipv4.tcp_keepalive_time");
    // 7200 s and nine times 75 s against 600 s and five times 60 s.
    assert!(advice.observation.contains("2.2 hours"), "{advice:#?}");
    assert!(advice.effect.contains("15 minutes"), "{advice:#?}");
}

#[test]
fn settings_that_drop_packets_are_named_where_they_do() {
    let row = |netns, reason: &str, packets| DropCount { netns, reason: reason.to_owned(), packets };
    let drops = vec![row(NETNS, "CPU_BACKLOG", 40), row(7, "IP_RPFILTER", 3), row(7, "NETFILTER_DROP", 9)];
    let report = advise(&Gathered { drops, ..untouched() }, None);
    let advice = advice_on(&report, "net.core.netdev_max_backlog");
    assert_eq!((advice.now.as_deref(), &*advice.proposed, advice.netns), (Some("1000"), "2000", None));
    assert!(advice.observation.contains("at least 40 packets"), "{advice:#?}");
    let advice = advice_on(&report, "net.ipv4.conf.all.rp_filter");
    assert_eq!((advice.now.as_deref(), &*advice.proposed, advice.netns), (None, "2", Some(7)));
    assert_eq!(advice.command, "nsenter --net=FILE_OF_NAMESPACE_7 sysctl -w net.ipv4.conf.all.rp_filter=2");
    assert_eq!(report.advice.len(), 2, "{report:#?}");
}

#[test]
fn a_table_of_connections_that_is_all_but_full_is_made_larger() {
    let mut gathered = untouched();
    let mut with = |count: u64| {
        let values = &mut gathered.settings[0].values;
        values.insert("net.netfilter.nf_conntrack_count".into(), vec![count]);
        values.insert("net.netfilter.nf_conntrack_max".into(), vec![1000]);
        advise(&gathered, None)
    };
    assert!(with(899).advice.is_empty());
    let report = with(900);
    let advice = advice_on(&report, "net.netfilter.nf_conntrack_max");
    assert_eq!((advice.now.as_deref(), &*advice.proposed, advice.netns), (Some("1000"), "2000", Some(NETNS)));
}
