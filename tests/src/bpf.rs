//! The smallest BPF programs, loaded and attached by the system call itself: they drop long packets.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};

/// Where a program is attached, and by which kind of program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// tc's ingress of a device (tcx, from 6.6 on).
    TcIngress(u32),
    /// tc's egress of a device.
    TcEgress(u32),
    /// XDP of a device, on packets as the kernel has them already.
    GenericXdp(u32),
    /// XDP of a device, in its driver.
    DriverXdp(u32),
    /// What the sockets of a cgroup (its directory) send.
    CgroupEgress(i32),
    /// What is for the sockets of a cgroup.
    CgroupIngress(i32),
}

/// A program that drops; it is detached with this value.
#[derive(Debug)]
pub struct Dropper {
    #[expect(dead_code, reason = "it is attached for as long as this is open")]
    link: OwnedFd,
}

/// `union bpf_attr` as far as both commands need it.
const ATTRIBUTES: usize = 128;
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;

/// Packets longer than this are dropped: handshakes and acknowledgements pass, as do ARP and neighbour discovery.
const LONG: i32 = 200;

impl At {
    /// `enum bpf_prog_type`, `enum bpf_attach_type`, the flags and what it is attached to.
    fn link(self) -> (u32, u32, u32, u32) {
        const SCHED_CLS: u32 = 3;
        const XDP: u32 = 6;
        const CGROUP_SKB: u32 = 8;
        const SKB_MODE: u32 = 2;
        const DRIVER_MODE: u32 = 4;
        match self {
            Self::TcIngress(device) => (SCHED_CLS, 46, 0, device),
            Self::TcEgress(device) => (SCHED_CLS, 47, 0, device),
            Self::GenericXdp(device) => (XDP, 37, SKB_MODE, device),
            Self::DriverXdp(device) => (XDP, 37, DRIVER_MODE, device),
            Self::CgroupIngress(directory) => (CGROUP_SKB, 0, 0, directory.cast_unsigned()),
            Self::CgroupEgress(directory) => (CGROUP_SKB, 1, 0, directory.cast_unsigned()),
        }
    }

    /// What the program answers for a packet that passes, and for one that does not.
    fn verdicts(self) -> (i32, i32) {
        match self {
            // TCX_NEXT, TCX_DROP
            Self::TcIngress(_) | Self::TcEgress(_) => (-1, 2),
            // XDP_PASS, XDP_DROP
            Self::GenericXdp(_) | Self::DriverXdp(_) => (2, 1),
            Self::CgroupIngress(_) | Self::CgroupEgress(_) => (1, 0),
        }
    }

    /// r2 is the packet's length.
    fn length(self) -> Vec<Instruction> {
        match self {
            // `__sk_buff::len`
            Self::TcIngress(_) | Self::TcEgress(_) | Self::CgroupIngress(_) | Self::CgroupEgress(_) => {
                vec![load(2, 0)]
            }
            // `xdp_md::data_end` less `data`
            Self::GenericXdp(_) | Self::DriverXdp(_) => {
                vec![load(2, 4), load(3, 0), [0x1f, 0x32, 0, 0, 0, 0, 0, 0]]
            }
        }
    }
}

/// `struct bpf_insn`.
type Instruction = [u8; 8];

const EXIT: Instruction = [0x95, 0, 0, 0, 0, 0, 0, 0];

/// `r = *(u32 *)(r1 + offset)`
fn load(register: u8, offset: u8) -> Instruction {
    [0x61, 0x10 | register, offset, 0, 0, 0, 0, 0]
}

/// `r0 = number`
fn answer(number: i32) -> Instruction {
    let [a, b, c, d] = number.to_le_bytes();
    [0xb7, 0, 0, 0, a, b, c, d]
}

/// `if r2 > number goto` behind the next two.
fn skip_if_above(number: i32) -> Instruction {
    let [a, b, c, d] = number.to_le_bytes();
    [0x25, 2, 2, 0, a, b, c, d]
}

impl Dropper {
    /// Drops long packets there. Devices are those of the network namespace that the calling thread is in.
    pub fn attach(at: At) -> Self {
        let program = load_program(at);
        let (_, kind, flags, target) = at.link();
        let mut attributes = [0; ATTRIBUTES];
        put(&mut attributes, 0, &program.as_raw_fd().to_ne_bytes());
        put(&mut attributes, 4, &target.to_ne_bytes());
        put(&mut attributes, 8, &kind.to_ne_bytes());
        put(&mut attributes, 12, &flags.to_ne_bytes());
        let link = bpf(LINK_CREATE, &attributes).unwrap_or_else(|error| panic!("attach to {at:?}: {error}"));
        Self { link }
    }
}

fn load_program(at: At) -> OwnedFd {
    let (pass, drop) = at.verdicts();
    let mut program = at.length();
    program.extend([skip_if_above(LONG), answer(pass), EXIT, answer(drop), EXIT]);
    let (kind, attach, _, _) = at.link();
    let license = c"GPL";
    let mut attributes = [0; ATTRIBUTES];
    put(&mut attributes, 0, &kind.to_ne_bytes());
    put(&mut attributes, 4, &(program.len() as u32).to_ne_bytes());
    put(&mut attributes, 8, &(program.as_ptr() as u64).to_ne_bytes());
    put(&mut attributes, 16, &(license.as_ptr() as u64).to_ne_bytes());
    put(&mut attributes, 68, &attach.to_ne_bytes());
    bpf(PROG_LOAD, &attributes).unwrap_or_else(|error| panic!("load a program for {at:?}: {error}"))
}

fn put(attributes: &mut [u8; ATTRIBUTES], at: usize, value: &[u8]) {
    attributes[at..at + value.len()].copy_from_slice(value);
}

fn bpf(command: libc::c_int, attributes: &[u8; ATTRIBUTES]) -> io::Result<OwnedFd> {
    // SAFETY: the attributes, and what they point to, live for the call and say how long they are.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), ATTRIBUTES) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}
