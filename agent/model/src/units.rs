//! Numbers, names and times as text for people.

use std::time::Duration;

use crate::escape::Escaped;
use crate::event::{Process, TcpState};
use crate::words;

/// `1 byte`, `999 bytes`, `614400 bytes`.
pub fn bytes(count: impl Into<u64>) -> String {
    plural(count, "byte")
}

/// `1 timeout`, `3 timeouts`.
pub fn plural(count: impl Into<u64>, word: &str) -> String {
    let count = count.into();
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// A name that a terminal cannot take for a command.
pub fn escaped(name: &str) -> String {
    Escaped(name).to_string()
}

/// `1 child`, `3 children`.
pub fn amount(count: impl Into<u64>, one: &str, many: &str) -> String {
    let count = count.into();
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `999 bytes`, `32.0 KiB`, `320.0 MiB`.
pub fn size(count: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(unit, _)| count >= *unit);
    unit.map_or_else(|| bytes(count), |(unit, name)| format!("{:.1} {name}", count as f64 / unit as f64))
}

/// `nginx[812]`; a terminal cannot take the name for a command.
pub fn process(process: &Process) -> String {
    format!("{}[{}]", Escaped(&process.comm), process.pid)
}

/// `204ms`, `1.632s`, `15min 24.6s`, `2h 11min 15s`.
pub fn time(time: Duration) -> String {
    let ms = time.as_millis();
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let (minutes, ms) = (ms / 60_000, ms % 60_000);
    let seconds = format!("{}.{:03}", ms / 1000, ms % 1000);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}min {seconds}s"),
        (hours, minutes) => format!("{hours}h {minutes}min {seconds}s"),
    }
}

/// The same of a predicted time: beyond a minute, fractions of a second are left out.
pub fn wait(wait: Duration) -> String {
    let beyond = wait > Duration::from_mins(1);
    time(if beyond { Duration::from_secs_f64(wait.as_secs_f64().round()) } else { wait })
}

/// The same, of a time in jiffies; `?` while the kernel's HZ is not known.
pub fn jiffies(jiffies: u32, hz: u32) -> String {
    from_jiffies(jiffies, hz).map_or_else(|| "?".to_owned(), time)
}

/// `CLOSE_WAIT`, `an unknown state`.
pub fn state(state: Option<TcpState>) -> &'static str {
    state.map_or("an unknown state", words::state)
}

/// `ETIMEDOUT`
pub fn errno(errno: i32) -> String {
    words::errno(errno)
}

/// `None` for no time at all, and while the kernel's HZ is not known.
pub fn from_jiffies(jiffies: u32, hz: u32) -> Option<Duration> {
    let nanos = (u64::from(jiffies) * 1_000_000_000).checked_div(hz.into())?;
    (nanos > 0).then(|| Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        let said = |ms| (time(Duration::from_millis(ms)), wait(Duration::from_millis(ms)));
        let same = |text: &str| (text.to_owned(), text.to_owned());
        assert_eq!(said(204), same("204ms"));
        assert_eq!(said(1632), same("1.632s"));
        assert_eq!(said(60_000), same("1min 0s"));
        assert_eq!(said(938_844), ("15min 38.844s".to_owned(), "15min 39s".to_owned()));
        assert_eq!(said(7_875_000), same("2h 11min 15s"));
    }
}
