//! Whose socket it is.

use std::fs;

use agent_model::event::{Detail, Owner, OwnerSource, TcpState};
use agent_model::signals::StateChanged;
use tests::link::Family;
use tests::raw::Forger;
use tests::skip::skip;
use tests::tcp::{self, Connection};

use crate::watch::{self, watch};

/// Whether this very process was learnt to be the owner, by its name too.
pub fn is_ours(owner: Option<&Owner>, source: OwnerSource) -> bool {
    let name = fs::read_to_string("/proc/self/comm").expect("read this process's name");
    owner.is_some_and(|owner| {
        owner.source == source
            && owner.process.pid == std::process::id()
            && *owner.process.comm == *name.trim()
    })
}

#[test]
fn a_listener_is_its_process() {
    watch::each(|family| {
        let pair = watch::pair();
        let listener = tcp::listen(&pair.server, family, 7);
        let address = tcp::local_address(&listener);
        let event = watch().some(&pair.server, "state_changed to LISTEN", |event| {
            let listens = matches!(
                event.detail,
                Detail::StateChanged(StateChanged { new: TcpState::Listen, backlog: 7, .. })
            );
            listens.then(|| event.clone())
        });
        assert_eq!(event.endpoint.local, address);
        assert!(is_ours(event.owner.as_ref(), OwnerSource::Listen), "{:?}", event.owner);
    });
}

#[test]
fn open_files_tell_who_holds_a_socket() {
    if !watch().has("sock_held") {
        return skip("open_files_tell_who_holds_a_socket", "no bpf_sock_from_file before 5.11");
    }
    let pair = watch::pair();
    let connection = Connection::open(&pair, Family::V4);
    let held = watch().walk();
    for side in [connection.client_side, connection.server_side] {
        let ends = |held: &agent_model::event::SockHeld| (held.endpoint.local, held.endpoint.remote);
        // Beside it, perhaps, a child that another test forks at this instant.
        let is_own = |held: &&agent_model::event::SockHeld| held.holder.pid == std::process::id();
        let own = held.iter().filter(is_own).filter(|held| ends(held) == (side.local, side.remote));
        let found: Vec<_> = own.filter(|held| u64::from(held.endpoint.netns) == side.netns).collect();
        assert_eq!(found.len(), 1, "{side:?}");
    }
}

#[test]
fn a_raw_socket_of_tcps_protocol_number_is_no_connection() {
    if !watch().has("sock_held") {
        return skip("a_raw_socket_of_tcps_protocol_number_is_no_connection", "no iterator before 5.11");
    }
    let pair = watch::pair();
    let [local, remote] = [&pair.client, &pair.server].map(|host| host.socket_address(Family::V4, 1000));
    let _raw = Forger::new(&pair.client, local, remote);
    let held = watch().walk();
    let raw = held.iter().find(|held| u64::from(held.endpoint.netns) == pair.client.inode());
    assert!(raw.is_none(), "{raw:?}");
}
