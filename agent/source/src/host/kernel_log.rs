//! Two lines of the kernel log, which name the limit that `tcp_check_oom` found (net/ipv4/tcp.c).

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;

use agent_model::event::LogLines;
use rustix::io::Errno;

const PATH: &str = "/dev/kmsg";

/// Records read at a time: more than the kernel keeps, as a rule, and an end to a log that grows meanwhile.
const RECORDS: usize = 16_384;

/// The largest record (`CONSOLE_EXT_LOG_MAX`).
const RECORD: usize = 8192;

/// The log from the moment it was opened. Nobody waits on it: its lines are counted when they are asked for.
#[derive(Debug, Default)]
pub struct KernelLog {
    file: Option<File>,
    lines: LogLines,
}

impl KernelLog {
    /// Without CAP_SYSLOG (and with `kernel.dmesg_restrict`) there is none.
    pub fn open() -> Self {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(PATH);
        let file = file.and_then(|mut file| file.seek(SeekFrom::End(0)).map(|_| file));
        if let Err(error) = &file {
            log::info!("{PATH}: lines about TCP's memory are not counted: {error}");
        }
        Self { file: file.ok(), lines: LogLines::default() }
    }

    /// How many were written so far.
    pub fn lines(&mut self) -> Option<LogLines> {
        let file = self.file.as_mut()?;
        let mut record = vec![0; RECORD];
        for _ in 0..RECORDS {
            match file.read(&mut record) {
                Ok(0) => break,
                Ok(length) => count(&mut self.lines, &record[..length]),
                // Overwritten before it was read: the next read goes on after the gap.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::PIPE) => (),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(_) => break,
            }
        }
        Some(self.lines)
    }
}

/// `PRIORITY,NUMBER,TIME,FLAGS;TEXT`, one read a record. Only the kernel's own: facility 0.
pub(super) fn count(lines: &mut LogLines, record: &[u8]) {
    let Some(at) = record.iter().position(|&byte| byte == b';') else { return };
    let (head, text) = (&record[..at], &record[at + 1..]);
    if !is_of_kernel(head) {
        return;
    }
    if text.starts_with(b"TCP: out of memory") {
        lines.out_of_memory += 1;
    } else if text.starts_with(b"TCP: too many orphaned sockets") {
        lines.too_many_orphans += 1;
    }
}

/// Whoever may write to the log can't pretend to be the kernel: `devkmsg_write` makes facility 0 another.
fn is_of_kernel(head: &[u8]) -> bool {
    let priority = head.split(|&byte| byte == b',').next().unwrap_or_default();
    let priority = std::str::from_utf8(priority).ok().and_then(|text| text.parse::<u32>().ok());
    priority.is_some_and(|priority| priority < 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_own_lines_count() {
        let mut lines = LogLines::default();
        for record in [
            "6,339,5140900,-;TCP: too many orphaned sockets\n",
            "6,340,5140901,-;TCP: out of memory -- consider tuning tcp_mem\n",
            "6,341,5140902,-;TCP: too many orphaned sockets\n",
            "14,342,5140903,-;TCP: too many orphaned sockets\n",
            "6,343,5140904,-;other: TCP: out of memory\n",
            "TCP: out of memory",
        ] {
            count(&mut lines, record.as_bytes());
        }
        assert_eq!(lines, LogLines { out_of_memory: 1, too_many_orphans: 2 });
    }
}
