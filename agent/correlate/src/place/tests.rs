use std::time::Duration;

use super::*;

const UID: &str = "9a64b8de-3f56-4f7c-8a0a-1d2f3a4b5c6d";
const OTHER: &str = "11111111-3f56-4f7c-8a0a-1d2f3a4b5c6d";
const HASH: &str = "3f9e0c5d7b1a4e6f8091a2b3c4d5e6f7";
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const NETNS: u32 = 4_026_532_000;
const MINUTE: u64 = 60_000_000_000;

fn pod(uid: &str, name: &str) -> Pod {
    Pod {
        uid: uid.into(),
        namespace: "shop".into(),
        name: name.into(),
        containers: [(ID.into(), "nginx".into())].into(),
        ..Pod::default()
    }
}

fn places() -> Places {
    let mut places = Places::new(Duration::from_mins(10));
    places.add_cgroup(7, &format!("/kubepods/pod{UID}/{ID}"));
    places
}

fn socket(cgroup: u64) -> Endpoint {
    let mut endpoint = agent_model::fixture::endpoint("198.51.100.1:1", "198.51.100.2:2", None);
    (endpoint.cgroup, endpoint.netns) = (Some(cgroup), NETNS);
    endpoint
}

#[test]
fn ids_do_until_names_come() {
    let mut places = places();
    let early = places.place(Some(7), NETNS);
    assert_eq!((early.pod_uid(), early.container(), early.namespace()), (Some(UID), Some(&ID[..12]), None));
    places.add_pod(pod(UID, "web-1"));
    let late = places.place(Some(7), NETNS);
    assert_eq!((late.pod().map(|pod| &*pod.name), late.container()), (Some("web-1"), Some("nginx")));
    assert_eq!(places.place(Some(8), NETNS), Place::default());
}

#[test]
fn a_static_pod_is_found_by_its_hash() {
    let mut places = Places::new(Duration::from_mins(10));
    places.add_cgroup(7, &format!("/kubepods/burstable/pod{HASH}/{ID}"));
    places.add_pod(Pod { config_hash: Some(HASH.into()), ..pod(UID, "etcd-node1") });
    assert_eq!(places.place(Some(7), NETNS).pod().map(|pod| &*pod.name), Some("etcd-node1"));
    places.end_pod(UID, 0);
    places.expire(11 * MINUTE);
    assert_eq!(places.place(Some(7), NETNS).pod(), None);
}

#[test]
fn the_dead_keep_their_names_for_a_while_but_no_counters() {
    let mut places = places();
    places.add_pod(pod(UID, "web-1"));
    assert!(matches!(places.whose(7, NETNS), Whose::Of(_)));
    places.end_pod(UID, MINUTE);
    places.end_cgroup(7, 2 * MINUTE);
    assert_eq!(places.whose(7, NETNS), Whose::Gone);
    places.expire(10 * MINUTE);
    assert_eq!(places.place(Some(7), NETNS).namespace(), Some("shop"));
    places.expire(13 * MINUTE);
    assert!(places.place(Some(7), NETNS).is_nowhere());
    assert_eq!(places.whose(7, NETNS), Whose::Of(Place::default()));
}

#[test]
fn a_namespace_is_of_the_pod_whose_sockets_are_in_it() {
    let mut places = places();
    places.add_pod(pod(UID, "web-1"));
    places.learn(&socket(7));
    let refused = places.place(None, NETNS);
    assert_eq!((refused.namespace(), refused.container(), refused.inferred), (Some("shop"), None, true));
    places.end_cgroup(7, 1);
    assert_eq!(places.whose(0, NETNS), Whose::Gone);
    // The inode is given to the next pod.
    places.add_cgroup(9, &format!("/kubepods/pod{OTHER}/{ID}"));
    places.learn(&socket(9));
    assert_eq!(places.place(None, NETNS).pod_uid(), Some(OTHER));
}

#[test]
fn the_hosts_namespace_is_nobodys() {
    let mut places = places();
    places.add_cgroup(8, "/system.slice/ssh.service");
    places.learn(&socket(7));
    places.learn(&socket(8));
    places.learn(&socket(7));
    assert!(places.place(None, NETNS).is_nowhere());
    assert_eq!(places.place(Some(8), NETNS).unit(), Some("ssh.service"));
}

#[test]
fn the_longest_gone_make_room_and_the_living_do_not() {
    let mut places = Places::new(Duration::MAX);
    for id in 1..=NAMED_CGROUPS as u64 {
        places.add_cgroup(id, "/a.service");
    }
    places.add_cgroup(u64::MAX, "/b.service");
    assert!(places.place(Some(u64::MAX), NETNS).is_nowhere());
    places.end_cgroup(3, 1);
    places.add_cgroup(u64::MAX, "/b.service");
    assert!(places.place(Some(3), NETNS).is_nowhere());
    assert_eq!(places.place(Some(u64::MAX), NETNS).unit(), Some("b.service"));
    assert_eq!(places.evicted(), 2);
}

#[test]
fn pods_come_and_go_without_end() {
    let mut places = Places::new(Duration::from_mins(10));
    for number in 0..3 * PODS as u64 {
        let uid = format!("{number:08x}{}", &UID[8..]);
        places.add_cgroup(number, &format!("/kubepods/pod{uid}/{ID}"));
        places.add_pod(Pod { config_hash: Some(uid.replace('-', "").into()), ..pod(&uid, "job") });
        places.end_pod(&uid, number);
        places.end_cgroup(number, number);
    }
    assert!(
        places.pods.len() <= PODS && places.cgroups.len() <= NAMED_CGROUPS && places.hashes.len() <= PODS
    );
    assert!(places.gone.len() <= PODS + NAMED_CGROUPS);
}
