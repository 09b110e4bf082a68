//! Settings worth changing on this host, each with what was observed, what the change would have done, its risk
//! and its command.
//!
//! Pure: [`Gathered`] facts in, an [`AdviceReport`] out. It changes no setting. One file a piece of advice
//! ([`rules`]); each considers one network namespace, or the host.

mod gathered;
mod rules;
#[cfg(test)]
mod tests;

use std::time::Duration;

use agent_diagnose::outcomes::{Loss, Outcome, Recovery, Waiting};
use agent_model::cause::Cause;
use agent_model::event::Settings;
use agent_model::schema::VERSION;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

pub use self::gathered::{DropCount, Gathered, gather};

/// One setting to change.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Advice {
    /// Its name, as `sysctl` or the manual has it.
    pub setting: String,
    /// Inode of the network namespace; absent for the whole host.
    pub netns: Option<u32>,
    /// Its value; absent for what programs set themselves.
    pub now: Option<String>,
    /// The value to set.
    pub proposed: String,
    /// What was seen.
    pub observation: String,
    /// What the change does, as far as it can be computed from what was seen.
    pub effect: String,
    /// What it costs, or may break.
    pub risk: String,
    /// What to run, or to write.
    pub command: String,
}

/// All advice for a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdviceReport {
    /// Version of the schema.
    pub v: u32,
    /// What to change; nothing, if the list is empty.
    pub advice: Vec<Advice>,
    /// The facts that were considered.
    pub looked_at: Vec<String>,
}

/// One network namespace, as a rule considers it.
#[derive(Clone, Copy, Debug)]
pub struct NetnsView<'a> {
    /// Everything.
    pub gathered: &'a Gathered,
    /// Inode of the namespace.
    pub netns: u32,
    /// How its stalls ended; `None` if it had none.
    pub outcome: Option<&'a Outcome>,
    /// Its settings, if they could be read.
    pub settings: Option<&'a Settings>,
}

/// Says what to change. `only` leaves out all other namespaces, but not what is the whole host's.
pub fn advise(gathered: &Gathered, only: Option<u32>) -> AdviceReport {
    let mut places = gathered.places();
    places.retain(|place| only.is_none_or(|netns| place.netns == netns));
    let of_places = places.iter().flat_map(|place| rules::OF_A_NAMESPACE.iter().flat_map(|rule| rule(place)));
    let of_host = rules::OF_THE_HOST.iter().flat_map(|rule| rule(gathered));
    AdviceReport {
        v: VERSION,
        advice: of_places.chain(of_host).collect(),
        looked_at: gathered.looked_at(&places),
    }
}

impl<'a> NetnsView<'a> {
    /// A setting with one value. Settings that decide on deaths are also known from the namespace's sockets.
    pub fn value(&self, name: &str) -> Option<u64> {
        let set = self.settings.and_then(|settings| settings.value(name));
        set.or_else(|| {
            let retries = self.outcome?.retries?;
            match name {
                "net.ipv4.tcp_retries2" => Some(retries.retries2.into()),
                "net.ipv4.tcp_syn_retries" => Some(retries.syn_retries.into()),
                "net.ipv4.tcp_syn_linear_timeouts" => Some(retries.syn_linear.into()),
                "net.ipv4.tcp_orphan_retries" => Some(retries.orphan_retries.into()),
                "net.ipv4.tcp_rto_max_ms" => Some(retries.rto_max_ms),
                "net.ipv4.tcp_keepalive_time" => Some(retries.keepalive_time_ms / 1000),
                "net.ipv4.tcp_keepalive_intvl" => Some(retries.keepalive_intvl_ms / 1000),
                "net.ipv4.tcp_keepalive_probes" => Some(retries.keepalive_probes.into()),
                _ => None,
            }
        })
    }

    /// `TCP_RTO_MAX` of its sockets.
    pub fn rto_max(&self) -> Duration {
        Duration::from_millis(self.value("net.ipv4.tcp_rto_max_ms").unwrap_or(120_000))
    }

    /// A counter of `/proc/net/netstat`; 0 where that of this namespace could not be read.
    pub fn counter(&self, name: &str) -> u64 {
        let first = self.gathered.settings.first();
        first.filter(|first| first.netns == self.netns).map_or(0, |_| self.gathered.counter(name))
    }

    /// Packets dropped there for `reason`.
    pub fn dropped(&self, reason: &str) -> u64 {
        let rows = self.gathered.drops.iter().filter(|row| row.netns == self.netns && row.reason == reason);
        rows.map(|row| row.packets).sum()
    }

    /// How often connections died of `cause`.
    pub fn deaths(&self, cause: Cause) -> u64 {
        self.outcome.and_then(|outcome| outcome.deaths.get(&cause)).copied().unwrap_or(0)
    }

    /// Connections that a limit ended, of one sort.
    pub fn losses(&self, is_one: impl Fn(&Loss) -> bool) -> Vec<&'a Loss> {
        self.outcome.into_iter().flat_map(|outcome| &outcome.losses).filter(|loss| is_one(loss)).collect()
    }

    /// Recoveries of stalls that waited for one thing.
    pub fn recoveries(&self, waiting: Waiting) -> impl Iterator<Item = &'a Recovery> {
        self.outcome
            .into_iter()
            .flat_map(|outcome| &outcome.recoveries)
            .filter(move |one| one.waiting == waiting)
    }

    /// `sysctl -w NAME=VALUE`, to be run in the namespace.
    pub fn command(&self, name: &str, value: &str) -> String {
        format!("{}{}", self.gathered.enter(self.netns), sysctl(name, value))
    }
}

/// `sysctl -w net.ipv4.tcp_retries2=8`
pub fn sysctl(name: &str, value: &str) -> String {
    if value.contains(' ') {
        format!("sysctl -w {name}='{value}'")
    } else {
        format!("sysctl -w {name}={value}")
    }
}

/// `924.6 s`, `14 minutes`, `2.2 hours`.
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        ..10.0 => format!("{seconds:.1} s"),
        ..120.0 => format!("{seconds:.0} s"),
        ..7200.0 => format!("{:.0} minutes", seconds / 60.0),
        _ => format!("{:.1} hours", seconds / 3600.0),
    }
}

/// `1 process family`, `3 process families`.
pub fn amount(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `1 connection`, `3 connections`.
pub fn plural(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
