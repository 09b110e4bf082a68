//! Names for the addresses of a kernel stack.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufReader, Seek as _};
use std::thread::{self, JoinHandle};

/// Frames shown of a stack, innermost first.
const MAX_FRAMES: usize = 24;

/// Resolves addresses by reading /proc/kallsyms whenever there are new ones: the whole table would be 4 MB of
/// memory for a handful of names. Bounded by the stacks that are named (`ring::MAX_STACKS`), each of a dozen
/// addresses, most of them shared.
#[derive(Debug, Default)]
pub struct Symbols {
    /// Opened while there is a right to see addresses: what it shows is decided then (`kallsyms_open`).
    kallsyms: Option<File>,
    known: HashMap<u64, Box<str>>,
}

impl Symbols {
    /// Of the running kernel.
    pub fn open() -> Self {
        Self { kallsyms: File::open("/proc/kallsyms").ok(), known: HashMap::new() }
    }

    /// Functions of the stack, without those of the tracing itself. Hexadecimal addresses where the
    /// symbols can't be read (that takes CAP_SYSLOG) or were not learnt.
    pub fn name(&self, addresses: &[u64]) -> Vec<Box<str>> {
        let names = addresses.iter().map(|at| self.known.get(at).cloned().unwrap_or_else(|| hex(*at)));
        names.skip_while(|name| is_tracing(name)).take(MAX_FRAMES).collect()
    }

    /// Those of `addresses` that were not learnt, sorted, each once.
    pub fn unknown(&self, addresses: impl Iterator<Item = u64>) -> Vec<u64> {
        let unknown: BTreeSet<u64> = addresses.filter(|at| !self.known.contains_key(at)).collect();
        unknown.into_iter().collect()
    }

    /// Asks the kernel for the names of sorted `addresses`, on another thread: it takes tens of milliseconds.
    pub fn look_up(&self, addresses: Vec<u64>) -> JoinHandle<Found> {
        let kallsyms = self.kallsyms.as_ref().and_then(|file| file.try_clone().ok());
        thread::spawn(move || names(kallsyms, &addresses))
    }

    /// Takes in what was found.
    pub fn learn(&mut self, found: Found) {
        self.known.extend(found);
    }
}

/// Addresses and their names.
pub type Found = Vec<(u64, Box<str>)>;

fn names(kallsyms: Option<File>, addresses: &[u64]) -> Found {
    let found = kallsyms.and_then(|mut file| {
        file.rewind().ok()?;
        resolve(BufReader::new(file), addresses).ok()
    });
    let mut names = found.unwrap_or_default().into_iter();
    addresses.iter().map(|&at| (at, names.next().flatten().unwrap_or_else(|| hex(at)))).collect()
}

/// For each of the sorted `addresses` the last text symbol at or below it.
fn resolve(mut kallsyms: impl io::BufRead, addresses: &[u64]) -> io::Result<Vec<Option<Box<str>>>> {
    let mut best: Vec<(u64, Option<Box<str>>)> = vec![(0, None); addresses.len()];
    let mut line = String::new();
    while kallsyms.read_line(&mut line)? != 0 {
        if let Some((start, name)) = text_symbol(&line) {
            let first = addresses.partition_point(|&at| at < start);
            // Sorted input would let this stop early; modules' symbols come unsorted.
            for (found, name_of) in best[first..].iter_mut().take_while(|(found, _)| *found < start) {
                *found = start;
                *name_of = Some(name.into());
            }
        }
        line.clear();
    }
    Ok(best.into_iter().map(|(_, name)| name).collect())
}

fn text_symbol(line: &str) -> Option<(u64, &str)> {
    let mut words = line.split_ascii_whitespace();
    let start = u64::from_str_radix(words.next()?, 16).ok().filter(|&start| start != 0)?;
    let is_text = matches!(words.next()?, "t" | "T" | "w" | "W");
    words.next().filter(|_| is_text).map(|name| (start, name))
}

fn is_tracing(name: &str) -> bool {
    ["bpf_", "__bpf_", "__traceiter_", "__probestub_", "trace_", "0x"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

fn hex(address: u64) -> Box<str> {
    format!("{address:#x}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_last_text_symbol_below() {
        let table =
            "0000000000001000 T tcp_close\n0000000000001800 d data\n0000000000002000 t inet_release\n";
        let names = resolve(table.as_bytes(), &[0x10, 0x1000, 0x1900, 0x2fff]).unwrap();
        let names: Vec<_> = names.iter().map(Option::as_deref).collect();
        assert_eq!(names, [None, Some("tcp_close"), Some("tcp_close"), Some("inet_release")]);
    }

    #[test]
    fn hidden_addresses_name_nothing() {
        assert_eq!(resolve("0000000000000000 T tcp_close\n".as_bytes(), &[0x1000]).unwrap(), [None]);
    }
}
