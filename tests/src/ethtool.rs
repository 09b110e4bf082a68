//! Settings of a device by the old system call (`SIOCETHTOOL`): not every machine has the program.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

use crate::netns::Netns;

/// Checksums of what is sent.
pub const STXCSUM: u32 = 0x17;
const SIOCETHTOOL: libc::c_ulong = 0x8946;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ifreq`, with a pointer.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    value: *mut Value,
    rest: [u64; 2],
}

/// Gives `command` with `data` to a device of `netns`.
pub fn set(netns: &Netns, device: &str, command: u32, data: u32) {
    let mut name = [0; libc::IFNAMSIZ];
    name[..device.len()].copy_from_slice(device.as_bytes());
    netns.run(|| {
        let mut value = Value { command, data };
        let mut request = Request { name, value: &raw mut value, rest: [0; 2] };
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        // SAFETY: the request, and the value that it points to, live for the call.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
        assert!(result == 0, "ethtool command {command:#x} of {device}: {}", io::Error::last_os_error());
    });
}
