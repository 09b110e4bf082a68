//! A name for a connection that both of its hosts arrive at by themselves, and other tools too.

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// `IPPROTO_TCP`
const TCP: u8 = 6;

/// The Community ID, version 1, with seed 0 (<https://github.com/corelight/community-id-spec>), as Zeek, Suricata and
/// others write it. Of addresses and ports alone: the same pair of ends has it again later, and a translated
/// address (a Service's) makes two of one.
pub fn community_id(one: SocketAddr, other: SocketAddr) -> String {
    let (first, second) = if key(one) <= key(other) { (one, other) } else { (other, one) };
    let mut bytes = vec![0, 0];
    bytes.extend(octets(first.ip()));
    bytes.extend(octets(second.ip()));
    bytes.extend([TCP, 0]);
    bytes.extend(first.port().to_be_bytes());
    bytes.extend(second.port().to_be_bytes());
    format!("1:{}", STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &bytes)))
}

fn key(end: SocketAddr) -> (Vec<u8>, u16) {
    (octets(end.ip()), end.port())
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::community_id;

    /// Numbers of the reference implementation (PyPI communityid 1.5.0).
    #[test]
    fn both_ends_have_the_name_that_others_give() {
        for (one, other, id) in [
            ("192.0.2.7:41022", "198.51.100.1:443", "1:MWYLS/UbnLQieCSPpVeWWx2GCBs="),
            ("[2001:db8::1]:41022", "[2001:db8::2]:443", "1:kOOuQEx/Zs0d0Stlt1Msb9aKPZ8="),
        ] {
            let [one, other] = [one, other].map(|end| end.parse().unwrap());
            assert_eq!(community_id(one, other), id);
            assert_eq!(community_id(other, one), id);
        }
    }
}
