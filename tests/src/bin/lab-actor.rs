//! The processes of the lab: each takes one part, given by its arguments, and prints what it does.
//!
//! ```text
//! lab-actor connect ADDRESS [NAME]       connects; then takes orders from its standard input
//! lab-actor accept ADDRESS               listens, accepts one connection; then takes orders
//! lab-actor fork-server ADDRESS PAYLOAD  one child a connection, until the end of its standard input
//! lab-actor fork-holders ADDRESS         likewise; a child holds its connection until the client closes
//! lab-actor take PATH                    waits at a unix socket for a connection; then takes orders
//! lab-actor connect-many ADDRESS COUNT   connects so often and sends a byte each time; holds all
//! lab-actor accept-many ADDRESS COUNT    listens, accepts so often, waits for a byte each time; holds all
//! ```
//!
//! Orders: `send N`, `receive N`, `close`, `abort`, `pass PATH` (to who takes there), `hoard N` (takes N bytes of
//! memory); each is answered by `done`. `exit STATUS` is not. At the end of the standard input, thus with the test
//! that started it, an actor ends.
//!
//! A child of the forking server stops (SIGSTOP) when it has written all. Continued, it prints
//! `closing UNREAD UNACKNOWLEDGED`, which nothing changes any more if its client rests, and closes.

use std::env;
use std::ffi::CString;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, raise};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use tests::actor::CHILD_NAME;
use tests::tcp;

/// What a child reads of what its client sent.
const READ: usize = 16;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["connect", address] => obey(connect(parse(address))),
        ["connect", address, name] => {
            prctl::set_name(&CString::new(name).expect("NAME has no NUL")).expect("take a name");
            obey(connect(parse(address)));
        }
        ["accept", address] => {
            let listener = listen(parse(address));
            obey(accept(&listener));
        }
        ["fork-server", address, payload] => {
            serve(parse(address), payload.parse().expect("bytes of payload"));
        }
        ["fork-holders", address] => fork_each(parse(address), |stream| hold(&stream)),
        ["take", path] => obey(take(Path::new(path))),
        ["connect-many", address, count] => connect_many(parse(address), count.parse().expect("a number")),
        ["accept-many", address, count] => accept_many(parse(address), count.parse().expect("a number")),
        _ => {
            eprintln!(
                "usage: lab-actor connect ADDRESS [NAME] | accept ADDRESS | fork-server ADDRESS PAYLOAD | \
                 fork-holders ADDRESS | take PATH | connect-many ADDRESS COUNT | accept-many ADDRESS COUNT"
            );
            process::exit(64);
        }
    }
}

fn parse(address: &str) -> SocketAddr {
    address.parse().expect("ADDRESS is an address and a port")
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("connect");
    println!("connected {}", stream.local_addr().expect("local address"));
    stream
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, remote) = listener.accept().expect("accept");
    println!("accepted {remote}");
    stream
}

fn listen(at: SocketAddr) -> TcpListener {
    let listener = TcpListener::bind(at).expect("listen");
    println!("listening {}", listener.local_addr().expect("local address"));
    listener
}

fn obey(stream: TcpStream) {
    let mut stream = Some(stream);
    for line in io::stdin().lines() {
        let line = line.expect("read an order");
        let (order, count) = line.split_once(' ').unwrap_or((&line, "0"));
        if order == "pass" {
            pass(stream.as_ref().expect("an open connection"), Path::new(count));
            println!("done");
            continue;
        }
        let count: usize = count.parse().expect("a number of bytes");
        match order {
            "send" => tcp::send(stream.as_ref().expect("an open connection"), count),
            "receive" => receive(stream.as_ref().expect("an open connection"), count),
            "close" => drop(stream.take()),
            "abort" => tcp::abort(stream.take().expect("an open connection")),
            "exit" => process::exit(count.try_into().expect("a status")),
            "hoard" => hoard(count),
            _ => panic!("no such order: {order}"),
        }
        println!("done");
    }
}

/// Takes so much memory, page by page, and writes to it.
fn hoard(count: usize) {
    let hoard: Vec<_> = (0..count >> 20).map(|_| vec![1_u8; 1 << 20]).collect();
    std::hint::black_box(&hoard);
}

fn receive(mut stream: &TcpStream, count: usize) {
    stream.read_exact(&mut vec![0; count]).expect("receive");
}

/// Passes the connection to who takes at `path`, and keeps it.
fn pass(stream: &TcpStream, path: &Path) {
    let to = UnixStream::connect(path).expect("connect to who takes");
    let (fds, data) = ([stream.as_raw_fd()], [IoSlice::new(b"x")]);
    sendmsg::<()>(to.as_raw_fd(), &data, &[ControlMessage::ScmRights(&fds)], MsgFlags::empty(), None)
        .expect("pass the connection");
}

/// Takes a connection that another process passes.
fn take(path: &Path) -> TcpStream {
    let listener = UnixListener::bind(path).expect("listen at a unix socket");
    println!("waiting");
    let (from, _) = listener.accept().expect("accept at a unix socket");
    let (mut data, mut space) = ([0], nix::cmsg_space!(RawFd));
    let mut data = [IoSliceMut::new(&mut data)];
    let message = recvmsg::<()>(from.as_raw_fd(), &mut data, Some(&mut space), MsgFlags::empty());
    let message = message.expect("take a message");
    let fd = message.cmsgs().expect("control messages").find_map(|control| {
        if let ControlMessageOwned::ScmRights(fds) = control { fds.first().copied() } else { None }
    });
    println!("taken");
    // SAFETY: the kernel made this descriptor for us alone.
    unsafe { TcpStream::from_raw_fd(fd.expect("a descriptor")) }
}

fn connect_many(to: SocketAddr, count: usize) {
    room_for(count);
    let connected = || TcpStream::connect(to).inspect(|stream| tcp::send(stream, 1));
    let streams: Vec<TcpStream> = (0..count).map(|_| connected().expect("connect")).collect();
    println!("connected");
    hold_all(streams);
}

fn accept_many(at: SocketAddr, count: usize) {
    room_for(count);
    let listener = listen(at);
    let accepted = || listener.accept().inspect(|(stream, _)| tcp::readable(stream, 1));
    let streams: Vec<TcpStream> = (0..count).map(|_| accepted().expect("accept").0).collect();
    println!("accepted");
    hold_all(streams);
}

/// Until the end of the standard input.
fn hold_all(streams: Vec<TcpStream>) {
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    drop(streams);
}

/// Lets this process open so many sockets, and a few files.
fn room_for(count: usize) {
    let wanted = count as u64 + 100;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("RLIMIT_NOFILE");
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).expect("raise RLIMIT_NOFILE");
    }
}

/// The server of the write-up: a child a connection, which reads a little, sends its payload and closes.
fn serve(at: SocketAddr, payload: usize) {
    fork_each(at, |stream| child(&stream, payload));
}

/// Holds the connection until the client closes it, and reads nothing.
fn hold(stream: &TcpStream) -> ! {
    prctl::set_pdeathsig(Signal::SIGKILL).expect("end with the server");
    let mut source = [PollFd::new(stream.as_fd(), PollFlags::from_bits_retain(libc::POLLRDHUP))];
    poll(&mut source, PollTimeout::NONE).expect("poll");
    process::exit(0)
}

/// A child a connection.
fn fork_each(at: SocketAddr, part: impl Fn(TcpStream)) {
    let listener = listen(at);
    while waits(&listener) {
        let (stream, remote) = listener.accept().expect("accept");
        // SAFETY: this process has one thread.
        let ForkResult::Parent { child: pid } = unsafe { fork() }.expect("fork") else {
            return part(stream);
        };
        // Before it is announced: the child is to be the last to close.
        drop(stream);
        println!("child {pid} {remote}");
        reap();
    }
}

/// Waits for a connection: true; or for the end of the standard input: false.
fn waits(listener: &TcpListener) -> bool {
    let input = io::stdin();
    let mut sources =
        [PollFd::new(listener.as_fd(), PollFlags::POLLIN), PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    poll(&mut sources, PollTimeout::NONE).expect("poll");
    sources[0].any().expect("flags the kernel knows")
}

fn child(mut stream: &TcpStream, payload: usize) -> ! {
    prctl::set_name(c"lab-child").expect("name the child");
    // Nobody would continue it.
    prctl::set_pdeathsig(Signal::SIGKILL).expect("end with the server");
    debug_assert_eq!(CHILD_NAME.as_bytes(), c"lab-child".to_bytes());
    receive(stream, READ);
    // The peer may reset first; the child closes all the same.
    let _ = stream.write_all(&vec![b'x'; payload]);
    raise(Signal::SIGSTOP).expect("stop");
    println!("closing {} {}", tcp::unread(stream), tcp::unacknowledged(stream));
    process::exit(0)
}

fn reap() {
    let ended = || waitpid(None, Some(WaitPidFlag::WNOHANG));
    while matches!(ended(), Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..))) {}
}
