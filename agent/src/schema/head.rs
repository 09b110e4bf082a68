//! The fields of a line that say what it is, without reading the rest of it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use super::Head;

/// Reads up to both; `None` if that fails.
pub(super) fn first_fields(line: &[u8]) -> Option<Head<'_>> {
    let mut found = Found::default();
    // To leave before the end is an error as well.
    let _ = serde_json::Deserializer::from_slice(line).deserialize_map(&mut found);
    Some(Head { v: found.v?, event: Cow::Borrowed(found.event?) })
}

#[derive(Default)]
struct Found<'a> {
    v: Option<u32>,
    event: Option<&'a str>,
}

impl<'de> Visitor<'de> for &mut Found<'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a line of the event stream")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while (self.v.is_none() || self.event.is_none())
            && let Some(key) = map.next_key()?
        {
            match key {
                "v" => self.v = Some(map.next_value()?),
                "event" => self.event = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}
