//! From nothing to attached programs.

use std::sync::Arc;
use std::{fs, io};

use agent_common::count::Limits;
use agent_common::signal::word;
use agent_model::counters::ProgramStats;
use agent_model::event::HostFacts;
use aya::maps::{Array, MapData, MapError, PerCpuArray, PerCpuHashMap, RingBuf, StackTraceMap};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader};
use log::warn;
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::btf::BtfError;
use super::layout::MissingField;
use super::losses::Loss;
use super::probes::{Hook, ProbeState, ProbeStatus};
use super::processes::{Parents, Processes};
use super::ring::{Ring, Stacks};
use super::shortage::Shortage;
use super::stats::Counters;
use super::{btf, facts, layout, losses, probes, stats};
use crate::host::HostMemory;

/// Where the kernel describes its types.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The kernel side, built by build.rs.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tcpwhy-ebpf"));

/// Records a second of one source, unless set otherwise: 10,000 stalled connections are all reported within the
/// first seconds of their stall, and a storm costs the agent a hundredth of a core.
pub const STORM_RATE: u32 = 2000;

/// Records of one source at once, unless set otherwise: as many deaths as the history keeps. The reader empties
/// the ring into its own memory while they come (`ring::BATCH`).
pub const STORM_BURST: u32 = 10_000;
/// See [`Options::max_counters`]: some 400 containers with trouble, 192 KiB on each CPU.
pub const MAX_COUNTERS: u32 = 4096;

/// Sizes and limits of the kernel side.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of the ring, a power of two of pages.
    pub ring_size: u32,
    /// Sockets remembered between events.
    pub max_sockets: u32,
    /// Entries of `COUNTS`: one for each workload, kind of event and reason that has come up.
    pub max_counters: u32,
    /// What one source may send.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ring_size: 4 << 20,
            max_sockets: 65_536,
            max_counters: MAX_COUNTERS,
            limits: Limits::new(STORM_RATE, STORM_BURST),
        }
    }
}

/// Why the agent cannot watch this kernel.
#[derive(Debug, Error)]
pub enum LoadError {
    /// No BTF: too old, or built without it.
    #[error("read {KERNEL_BTF}: this kernel has no BTF (CONFIG_DEBUG_INFO_BTF, 5.10 or later is needed)")]
    NoBtf(#[source] io::Error),
    /// BTF this reader does not take.
    #[error("parse {KERNEL_BTF}")]
    Btf(#[from] BtfError),
    /// BTF that aya does not take.
    #[error("parse {KERNEL_BTF}")]
    AyaBtf(#[from] aya::BtfError),
    /// BTF, but none of the rest.
    #[error("watch Linux {0}: it has no BPF ring buffer, which came with 5.8: tcpwhy needs 5.10 or later")]
    TooOld(String),
    /// A field without which nothing works.
    #[error("find the kernel's fields")]
    Field(#[from] MissingField),
    /// bpf() was refused.
    #[error(
        "load the eBPF programs: not permitted: run as root, or with CAP_BPF and CAP_PERFMON \
         (in a pod: securityContext.capabilities.add [BPF, PERFMON] and runAsUser 0)"
    )]
    NotPermitted,
    /// The object as a whole was refused.
    #[error("load the eBPF object")]
    Object(#[source] Box<EbpfError>),
    /// A map that the object should have.
    #[error("open map {0}")]
    Map(&'static str, #[source] Box<MapError>),
    /// A probe without which there is nothing to report.
    #[error("attach required probe {name}: {why}")]
    Required {
        /// The probe.
        name: &'static str,
        /// The kernel's words.
        why: String,
    },
    /// The host's clocks, or epoll.
    #[error("ask the host")]
    Host(#[from] io::Error),
}

/// The kernel side with whatever this kernel takes of it.
struct Loaded {
    ebpf: Ebpf,
    counters: Counters,
    parents: Parents,
    host: HostFacts,
}

/// Loads and attaches everything this kernel allows.
///
/// Must run inside a tokio runtime. The programs stay attached for as long as the ring lives.
pub fn load(options: &Options) -> Result<(Ring, Counters), LoadError> {
    let Loaded { mut ebpf, counters, parents, host } = attach(*options)?;
    require(&counters.probes)?;
    let stacks = Stacks { resets: stacks(&mut ebpf, "STACKS")?, drops: stacks(&mut ebpf, "PLACES")? };
    give_back_memory();
    let events = RingBuf::try_from(map(&mut ebpf, "EVENTS")?).map_err(|error| map_error("EVENTS", error))?;
    let processes = Processes::new(is_up(&counters.probes, word::PROCESS_FORKED).then_some(parents));
    let shortage = Shortage::new(Arc::clone(&counters.memory), &host);
    let can_walk = is_up(&counters.probes, word::SOCK_HELD);
    Ok((Ring::new(events, stacks, processes, shortage, ebpf, host, can_walk), counters))
}

fn stacks(ebpf: &mut Ebpf, name: &'static str) -> Result<StackTraceMap<MapData>, LoadError> {
    StackTraceMap::try_from(map(ebpf, name)?).map_err(|error| map_error(name, error))
}

/// What became of the programs.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Every probe.
    pub probes: Vec<ProbeStatus>,
    /// What this kernel cannot show.
    pub lost: Vec<Loss>,
    /// The verifier's work on each program that is up.
    pub programs: Vec<ProgramStats>,
}

/// Loads and attaches everything this kernel allows, required or not, and lets go of it at once. Must run
/// inside a tokio runtime.
pub fn survey(options: &Options) -> Result<Survey, LoadError> {
    let Counters { probes, lost, programs, .. } = attach(*options)?.counters;
    // What the programs cost is no reason to fail.
    let programs = programs.iter().filter_map(|(name, fd)| stats::of_program(name, fd).ok()).collect();
    Ok(Survey { probes, lost, programs })
}

fn attach(options: Options) -> Result<Loaded, LoadError> {
    let blob = fs::read(KERNEL_BTF).map_err(LoadError::NoBtf)?;
    let btf = btf::Btf::parse(&blob)?;
    require_ring(&btf)?;
    let kernel = layout::resolve(&btf)?;
    let mut ebpf = EbpfLoader::new()
        .override_global("KERNEL", &kernel, true)
        .override_global("LIMITS", &options.limits, true)
        .map_max_entries("EVENTS", options.ring_size)
        .map_max_entries("SOCKETS", options.max_sockets)
        .map_max_entries("COUNTS", options.max_counters)
        .load(OBJECT)
        .map_err(refused)?;
    let mut counters = counters(&mut ebpf)?;
    counters.reserve_other().map_err(|error| LoadError::Map("COUNTS", Box::new(error)))?;
    let parents = Parents {
        forks: PerCpuHashMap::try_from(map(&mut ebpf, "FORKS")?)
            .map_err(|error| map_error("FORKS", error))?,
        watched: Array::try_from(map(&mut ebpf, "WATCHED")?).map_err(|error| map_error("WATCHED", error))?,
    };
    spawn_logger(&mut ebpf)?;
    counters.probes = probes::attach_all(&mut ebpf, &btf, &Btf::from_sys_fs()?);
    counters.lost = losses::of(&kernel, &counters.probes);
    counters.programs = program_fds(&ebpf, &counters.probes);
    let host = facts::host(&btf)?;
    Ok(Loaded { ebpf, counters, parents, host })
}

/// Asked first: without it the object is refused as a whole, with no more than EINVAL to say why.
fn require_ring(btf: &btf::Btf<'_>) -> Result<(), LoadError> {
    if btf.has_enum_value("bpf_map_type", "BPF_MAP_TYPE_RINGBUF") {
        return Ok(());
    }
    Err(LoadError::TooOld(facts::release()))
}

/// Loading takes 20 MB for a moment, most of it for BTF; without this the allocator keeps a part of it.
fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn refused(error: EbpfError) -> LoadError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        if cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied) {
            return LoadError::NotPermitted;
        }
        source = cause.source();
    }
    LoadError::Object(Box::new(error))
}

fn map(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, LoadError> {
    ebpf.take_map(name).ok_or_else(|| map_error(name, MapError::InvalidName { name: name.to_owned() }))
}

fn map_error(name: &'static str, error: MapError) -> LoadError {
    LoadError::Map(name, Box::new(error))
}

fn counters(ebpf: &mut Ebpf) -> Result<Counters, LoadError> {
    Ok(Counters {
        counts: PerCpuHashMap::try_from(map(ebpf, "COUNTS")?)
            .map_err(|error| map_error("COUNTS", error))?
            .into(),
        health: PerCpuArray::try_from(map(ebpf, "HEALTH")?).map_err(|error| map_error("HEALTH", error))?,
        ports: PerCpuArray::try_from(map(ebpf, "PORTS")?).map_err(|error| map_error("PORTS", error))?,
        programs: Vec::new(),
        probes: Vec::new(),
        lost: Vec::new(),
        memory: Arc::new(HostMemory::new()),
    })
}

/// Messages of the kernel side come out through `log`. The logger must live before any program is loaded.
fn spawn_logger(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    let logger = match aya_log::EbpfLogger::init(ebpf) {
        Ok(logger) => logger,
        Err(error) => {
            warn!("messages of the eBPF programs are not shown: {error}");
            return Ok(());
        }
    };
    // SAFETY: the logger owns its map's descriptor and never changes it.
    let mut logger =
        unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }.map_err(io::Error::from)?;
    tokio::spawn(async move {
        while let Ok(mut guard) = logger.readable_mut().await {
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    });
    Ok(())
}

fn require(probes: &[ProbeStatus]) -> Result<(), LoadError> {
    for ProbeStatus { probe, state } in probes.iter().filter(|status| status.probe.required) {
        let why = match state {
            ProbeState::Up => continue,
            ProbeState::Missing => format!("this kernel has no {:?}", probe.hook),
            ProbeState::Refused(why) => format!("{why} (--log debug shows all of the kernel's words)"),
            ProbeState::NotPermitted => return Err(LoadError::NotPermitted),
        };
        return Err(LoadError::Required { name: probe.name, why });
    }
    Ok(())
}

fn is_up(probes: &[ProbeStatus], name: &str) -> bool {
    probes.iter().any(|status| status.probe.name == name && status.state == ProbeState::Up)
}

fn program_fds(ebpf: &Ebpf, probes: &[ProbeStatus]) -> Vec<(&'static str, aya::programs::ProgramFd)> {
    let up = probes.iter().filter(|status| status.state == ProbeState::Up);
    up.filter_map(|ProbeStatus { probe, .. }| {
        let program = ebpf.program(probe.name)?;
        let fd = match probe.hook {
            Hook::Tracepoint(_) => {
                TryInto::<&aya::programs::BtfTracePoint>::try_into(program).ok()?.fd().ok()?
            }
            Hook::Iterator(_) => TryInto::<&aya::programs::Iter>::try_into(program).ok()?.fd().ok()?,
            Hook::Function(_) => TryInto::<&aya::programs::FEntry>::try_into(program).ok()?.fd().ok()?,
        };
        Some((probe.name, fd.try_clone().ok()?))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use agent_common::count::{Bucket, Count, CountKey, Forks, Health, Limit, Port, Row, Socket};
    use agent_common::record;
    use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

    use super::probes::PROBES;
    use super::*;

    /// The two sides are compiled for different targets: sizes must agree, and no member may be preceded
    /// by padding, whose bytes the kernel side would leave unwritten.
    #[test]
    fn the_object_and_the_daemon_agree_on_the_abi() {
        let file = object::File::parse(OBJECT).unwrap();
        let section = file.section_by_name(".BTF").unwrap().uncompressed_data().unwrap();
        let btf = btf::Btf::parse(&section).unwrap();
        macro_rules! check {
            ($($name:ident: $ty:ty),* $(,)?) => {
                $(assert_tiles(&btf, stringify!($name), size_of::<$ty>() as u32);)*
            };
        }
        check!(
            Header: record::Header, Task: record::Task, Endpoint: record::Endpoint, Record: record::Record,
            Tcp: record::Tcp, Netns: record::Netns, Totals: record::Totals, TcpRecord: record::TcpRecord,
            Kernel: agent_common::layout::Kernel, Layout: agent_common::layout::Layout,
            CountKey: CountKey, Count: Count, Bucket: Bucket, Row: Row, Port: Port, Limit: Limit,
            Limits: Limits, Health: Health, Socket: Socket, Forks: Forks,
        );
        for (name, size) in record::DETAILS {
            assert_tiles(&btf, name, *size as u32);
        }
        assert_eq!(btf.size_of("Detail"), Some(size_of::<record::Detail>() as u32));
    }

    /// The table says where the programs sit, and attaches them there; so does the object, to those who read it.
    #[test]
    fn every_row_has_its_program_on_its_hook() {
        let file = object::File::parse(OBJECT).unwrap();
        let programs = file.symbols().filter_map(|symbol| {
            let section = file.section_by_index(symbol.section_index()?).ok()?;
            Some((section.name().ok()?.to_owned(), symbol.name().ok()?.to_owned()))
        });
        let is_program =
            |section: &str| ["tp_btf/", "iter/", "fentry/"].iter().any(|kind| section.starts_with(kind));
        let found: BTreeSet<_> =
            programs.filter(|(section, name)| is_program(section) && !name.is_empty()).collect();
        let rows = PROBES.iter().map(|probe| (probe.hook.to_string(), probe.name.to_owned()));
        assert_eq!(found, rows.collect());
    }

    /// Changes with every name, place and size of a field of the ring's records.
    fn fingerprint(btf: &btf::Btf<'_>) -> u32 {
        let records =
            ["TcpRecord", "Record", "Header", "Endpoint", "Task", "Tcp", "Netns", "Totals", "Detail"];
        let details = record::DETAILS.iter().map(|(name, _)| name);
        let layout: Vec<_> =
            records.iter().chain(details).map(|name| (name, btf.size_of(name), btf.members(name))).collect();
        crc32fast::hash(format!("{layout:?}").as_bytes())
    }

    #[test]
    fn a_kernel_without_a_ring_is_refused_by_name() {
        let mut blob = include_bytes!("../../tests/data/btf/x86_64-5.10.0-46-cloud-amd64.btf").to_vec();
        assert!(require_ring(&btf::Btf::parse(&blob).unwrap()).is_ok());
        let name = b"BPF_MAP_TYPE_RINGBUF";
        let at = blob.windows(name.len()).position(|window| window == name).unwrap();
        blob[at] = b'X';
        let error = require_ring(&btf::Btf::parse(&blob).unwrap()).unwrap_err();
        assert!(error.to_string().contains("it has no BPF ring buffer"), "{error}");
    }

    #[test]
    fn recordings_know_the_abi() {
        let file = object::File::parse(OBJECT).unwrap();
        let section = file.section_by_name(".BTF").unwrap().uncompressed_data().unwrap();
        let found = fingerprint(&btf::Btf::parse(&section).unwrap());
        let written = crate::recording::ABI;
        assert_eq!(written, found, "the records changed: recording::ABI is {found:#010x} now");
    }

    fn assert_tiles(btf: &btf::Btf<'_>, name: &str, size: u32) {
        assert_eq!(btf.size_of(name), Some(size), "size of {name}");
        let mut members = btf.members(name).unwrap();
        members.sort_by_key(|(_, offset, _)| *offset);
        let end = members.iter().fold(0, |end, (member, offset, len)| {
            assert_eq!(*offset, end, "padding before {name}.{member}");
            offset + len
        });
        assert_eq!(end, size, "padding at the end of {name}");
    }
}
