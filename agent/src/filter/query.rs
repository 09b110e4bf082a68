//! What a reader of `/v1/events` asks for.

use jiff::Timestamp;

use super::{Filter, FilterError};

/// The name of [`Query::since`] in a query string.
const SINCE: &str = "since";

/// Which events, and from when on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Which.
    pub filter: Filter,
    /// First those that the agent remembers since then; `None` begins with the next.
    pub since: Option<Timestamp>,
}

impl Query {
    /// Reads a query string, `port=443&since=2026-01-31T12:00:00Z`.
    pub fn parse(query: &str) -> Result<Self, FilterError> {
        let mut wanted = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name == SINCE {
                wanted.since = Some(time(&value)?);
            } else {
                wanted.filter.add(&name, &value)?;
            }
        }
        Ok(wanted)
    }

    /// The query string that [`Self::parse`] reads back.
    pub fn to_query(&self) -> String {
        let Self { filter, since } = self;
        let mut query = form_urlencoded::Serializer::new(filter.to_query());
        query.extend_pairs(since.map(|since| (SINCE, since.to_string())));
        query.finish()
    }
}

fn time(value: &str) -> Result<Timestamp, FilterError> {
    value.parse().map_err(|error: jiff::Error| FilterError::Value {
        parameter: SINCE,
        value: value.to_owned(),
        problem: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_reads_back() {
        for text in
            ["", "port=443", "since=2026-01-31T12%3A00%3A00.5Z", "pid=7&since=2026-01-31T12%3A00%3A00Z"]
        {
            assert_eq!(Query::parse(text).unwrap().to_query(), text);
        }
        let wrong = Query::parse("since=yesterday").unwrap_err().to_string();
        assert!(wrong.starts_with("since=\"yesterday\": "), "{wrong}");
    }
}
