//! One line of the agent's stream.

use std::net::SocketAddr;

use serde_json::Value;

use crate::tcp::Side;

/// A line of schema version 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Event(Value);

impl Event {
    /// Parses a line; one of another schema is an error.
    pub fn parse(line: &str) -> Self {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(value["v"], 1, "version of the schema: {line}");
        Self(value)
    }

    /// `event`: what happened.
    pub fn name(&self) -> &str {
        self.text("/event")
    }

    /// Whether it is `name`, of this side of this connection.
    pub fn is(&self, name: &str, side: Side) -> bool {
        self.name() == name && self.is_of(side)
    }

    /// Whether it is of this side of this connection, port by port.
    pub fn is_of(&self, side: Side) -> bool {
        self.netns() == Some(side.netns)
            && self.local() == Some(side.local)
            && self.address("/remote") == Some(side.remote)
    }

    /// This host's side.
    pub fn local(&self) -> Option<SocketAddr> {
        self.address("/local")
    }

    /// Inode of the network namespace.
    pub fn netns(&self) -> Option<u64> {
        self.find("/netns")?.as_u64()
    }

    /// How many events the line stands for.
    pub fn stands_for(&self) -> u64 {
        self.number("/stands_for")
    }

    /// The member at a JSON pointer, unless it is absent or null.
    pub fn find(&self, pointer: &str) -> Option<&Value> {
        self.0.pointer(pointer).filter(|value| !value.is_null())
    }

    /// The line that is a member of this one.
    pub fn part(&self, pointer: &str) -> Option<Self> {
        self.find(pointer).cloned().map(Self)
    }

    /// A string that must be there.
    pub fn text(&self, pointer: &str) -> &str {
        self.find(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("no string {pointer} in {}", self.0))
    }

    /// A number that must be there.
    pub fn number(&self, pointer: &str) -> u64 {
        self.find(pointer)
            .and_then(Value::as_u64)
            .unwrap_or_else(|| panic!("no number {pointer} in {}", self.0))
    }

    /// A signed number that must be there.
    pub fn signed(&self, pointer: &str) -> i64 {
        self.find(pointer)
            .and_then(Value::as_i64)
            .unwrap_or_else(|| panic!("no number {pointer} in {}", self.0))
    }

    /// An end of the connection.
    pub fn address(&self, pointer: &str) -> Option<SocketAddr> {
        let end = self.find(pointer)?;
        let port = u16::try_from(end["port"].as_u64()?).ok()?;
        Some(SocketAddr::new(end["address"].as_str()?.parse().ok()?, port))
    }
}
