//! How numbers, names and times are said.

use std::time::Duration;

use crate::correlate::stage_duration as from_jiffies;
use crate::event::{Process, TcpState};
use crate::export::escape::Escaped;
use crate::export::words;

/// `1 byte`, `999 bytes`, `614400 bytes`.
pub(super) fn bytes(count: impl Into<u64>) -> String {
    plural(count, "byte")
}

/// `1 timeout`, `3 timeouts`.
pub(super) fn plural(count: impl Into<u64>, word: &str) -> String {
    let count = count.into();
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// A name that can't give orders to a terminal.
pub(crate) fn escaped(name: &str) -> String {
    Escaped(name).to_string()
}

/// `1 child`, `3 children`.
pub(super) fn amount(count: impl Into<u64>, one: &str, many: &str) -> String {
    let count = count.into();
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `999 bytes`, `32.0 KiB`, `320.0 MiB`.
pub(crate) fn size(count: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(unit, _)| count >= *unit);
    unit.map_or_else(|| bytes(count), |(unit, name)| format!("{:.1} {name}", count as f64 / unit as f64))
}

/// `nginx[812]`; whoever named the process can't give orders to a terminal.
pub(super) fn process(process: &Process) -> String {
    format!("{}[{}]", Escaped(&process.comm), process.pid)
}

/// `204ms`, `1.632s`, `924.6s`.
pub(super) fn time(time: Duration) -> String {
    let ms = time.as_millis();
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let seconds = format!("{}.{:03}", ms / 1000, ms % 1000);
    format!("{}s", seconds.trim_end_matches('0').trim_end_matches('.'))
}

/// The same, of a time in jiffies; `?` while the kernel's HZ is not known.
pub(super) fn jiffies(jiffies: u32, hz: u32) -> String {
    from_jiffies(jiffies, hz).map_or_else(|| "?".to_owned(), time)
}

/// `CLOSE_WAIT`, `an unknown state`.
pub(super) fn state(state: Option<TcpState>) -> &'static str {
    state.map_or("an unknown state", words::state)
}

/// `ETIMEDOUT`
pub(super) fn errno(errno: i32) -> String {
    words::errno(errno)
}
