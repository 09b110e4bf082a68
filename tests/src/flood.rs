//! SYNs by the million, as a flood brings them: straight from a device, from many addresses.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd as _;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, MsgFlags, MultiHeaders, sendmmsg};
use socket2::{Domain, Socket, Type};

use crate::link::{Family, Host};

/// Frames that one system call hands over, each of them another sender's.
const BATCH: usize = 1024;
/// Destination of all.
const PORT: u16 = 80;

/// A flood's source.
#[derive(Debug)]
pub struct Flood {
    socket: Socket,
    device: LinkAddr,
    frames: Vec<[u8; 54]>,
}

impl Flood {
    /// From the device of one host to the other, on the same cable.
    pub fn new(from: &Host, to: &Host) -> Self {
        let [device, neighbour] = [from, to].map(link_address);
        let socket = from.run(|| Socket::new(Domain::PACKET, Type::RAW, None).expect("a packet socket"));
        let IpAddr::V4(victim) = to.address(Family::V4) else { unreachable!("asked for IPv4") };
        let macs = [&neighbour, &device].map(|end| end.addr().expect("a hardware address"));
        let frames = (0..BATCH as u16).map(|number| frame(macs, number, victim)).collect();
        Self { socket, device, frames }
    }

    /// Sends so many, one after another on one CPU: the kernel takes each as far as it gets before the next.
    pub fn send(&self, count: usize) {
        let slices: Vec<_> = self.frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
        let addresses = vec![Some(self.device); BATCH];
        let mut headers = MultiHeaders::preallocate(BATCH, None);
        let mut left = count;
        while left > 0 {
            let batch = left.min(BATCH);
            let fd = self.socket.as_raw_fd();
            let sent =
                sendmmsg(fd, &mut headers, &slices[..batch], &addresses[..batch], [], MsgFlags::empty());
            left -= sent.expect("send a flood").count();
        }
    }
}

/// Of its only device beside `lo`.
fn link_address(host: &Host) -> LinkAddr {
    let of_ethernet = |address: &LinkAddr| usize::from(address.hatype()) == usize::from(libc::ARPHRD_ETHER);
    host.run(|| {
        let all = getifaddrs().expect("list the devices");
        all.filter_map(|one| one.address?.as_link_addr().copied()).find(of_ethernet).expect("a device")
    })
}

/// A SYN to `victim`, with no checksum of TCP's: nobody gets as far as that.
fn frame(macs: [[u8; 6]; 2], number: u16, victim: Ipv4Addr) -> [u8; 54] {
    let mut frame = [0; 54];
    let mut put = |at: usize, bytes: &[u8]| frame[at..at + bytes.len()].copy_from_slice(bytes);
    let source = Ipv4Addr::new(198, 51, 100, 128 + (number % 64) as u8);
    put(0, &macs[0]);
    put(6, &macs[1]);
    put(12, &(libc::ETH_P_IP as u16).to_be_bytes());
    let mut ip = [0x45, 0, 0, 40, 0, 0, 0, 0, 64, libc::IPPROTO_TCP as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    ip[12..16].copy_from_slice(&source.octets());
    ip[16..20].copy_from_slice(&victim.octets());
    let sum: u32 = ip.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    ip[10..12].copy_from_slice(&(!(sum % 0xffff) as u16).to_be_bytes());
    put(14, &ip);
    put(34, &(20_000 + number).to_be_bytes());
    put(36, &PORT.to_be_bytes());
    // Five words of header, SYN, and some window.
    put(46, &[0x50, 0x02, 0xff, 0xff]);
    frame
}
