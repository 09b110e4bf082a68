//! Points in time, as people write them.

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

const NO_TIME: &str = "neither a time span (90s, 10m, 2h), a time of day (14:05), nor a date and time \
    (2026-01-31T14:05, 2026-01-31T13:05:00Z)";

/// `10m` ago, `14:05` today (yesterday if that is yet to come), `2026-01-31T14:05` here,
/// `2026-01-31T13:05:00Z` anywhere.
pub(in crate::cli) fn since(text: &str) -> Result<Timestamp, String> {
    read(text, &Zoned::now()).ok_or_else(|| NO_TIME.to_owned())
}

fn read(text: &str, now: &Zoned) -> Option<Timestamp> {
    let ago = text.parse::<SignedDuration>().ok().filter(|ago| !ago.is_negative());
    ago.and_then(|ago| now.timestamp().checked_sub(ago).ok())
        .or_else(|| text.parse().ok())
        .or_else(|| at(text.parse().ok()?, now.time_zone()))
        .or_else(|| time_of_day(text.parse().ok()?, now))
}

fn at(time: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    time.to_zoned(zone.clone()).ok().map(|time| time.timestamp())
}

fn time_of_day(time: Time, now: &Zoned) -> Option<Timestamp> {
    let today = at(now.date().to_datetime(time), now.time_zone())?;
    let yesterday = || at(now.date().yesterday().ok()?.to_datetime(time), now.time_zone());
    if today <= now.timestamp() { Some(today) } else { yesterday() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now: Zoned = "2026-01-31T14:05:00+02:00[+02:00]".parse().unwrap();
        for (text, expected) in [
            ("10m", "2026-01-31T11:55:00Z"),
            ("1h 30m", "2026-01-31T10:35:00Z"),
            ("2026-01-31T13:05:00Z", "2026-01-31T13:05:00Z"),
            ("2026-01-31T13:05", "2026-01-31T11:05:00Z"),
            ("2026-01-31 13:05:30", "2026-01-31T11:05:30Z"),
            ("14:05", "2026-01-31T12:05:00Z"),
            ("23:00", "2026-01-30T21:00:00Z"),
        ] {
            assert_eq!(read(text, &now).map(|time| time.to_string()).as_deref(), Some(expected), "{text}");
        }
        for wrong in ["", "yesterday", "-5m", "25:00"] {
            assert_eq!(read(wrong, &now), None, "{wrong}");
        }
    }
}
