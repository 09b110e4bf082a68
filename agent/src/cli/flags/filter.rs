//! The flags that choose events.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use agent_model::cause::Cause;
use agent_model::words;
use agent_model::words::EventWord;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::place::PlaceArgs;
use crate::filter::{Filter, Kind, Network, Show};

/// Which events to show. Values of one flag are alternatives; all flags must hold.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Filters (repeat a flag or separate by commas for alternatives)")]
pub(in crate::cli) struct FilterArgs {
    /// Network namespace: its inode, or a file that stands for it (`/run/netns/NAME`, `/proc/PID/ns/net`).
    #[arg(long, value_delimiter = ',', value_parser = netns)]
    netns: Vec<u32>,
    /// Address or network of either end, like `198.51.100.7` or `2001:db8::/32`.
    #[arg(long, value_delimiter = ',', value_name = "CIDR")]
    address: Vec<Network>,
    /// Port of either end.
    #[arg(long, value_delimiter = ',')]
    port: Vec<u16>,
    /// Process that owns the socket or worked on it.
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// Name of such a process, as in `/proc/PID/comm`.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    comm: Vec<String>,
    /// Kind of retransmission.
    #[arg(long, value_delimiter = ',', value_parser = words(words::KINDS).try_map(|word| word.parse::<Kind>()))]
    kind: Vec<Kind>,
    /// What happened.
    #[arg(long, value_delimiter = ',',
        value_parser = words(EventWord::WORDS).try_map(|word| word.parse::<EventWord>()))]
    event: Vec<EventWord>,
    /// Cause of a diagnosis; events are not shown then.
    #[arg(long, value_delimiter = ',',
        value_parser = words(Cause::WORDS).try_map(|word| word.parse::<Cause>()))]
    cause: Vec<Cause>,
    #[command(flatten)]
    place: PlaceArgs,
    /// Diagnoses alone, without events.
    #[arg(long, conflicts_with = "no_diagnoses")]
    diagnoses: bool,
    /// Events alone, without diagnoses.
    #[arg(long)]
    no_diagnoses: bool,
    /// Without listeners that open or close.
    #[arg(long)]
    no_listeners: bool,
}

impl FilterArgs {
    /// The namespace of pods, if one is given.
    pub(in crate::cli) fn namespace(&self) -> Option<&str> {
        self.place.namespace()
    }
}

fn words(words: &'static [&'static str]) -> PossibleValuesParser {
    PossibleValuesParser::new(words)
}

pub(in crate::cli) use crate::filter::cut;

pub(in crate::cli) fn netns(text: &str) -> Result<u32, String> {
    if let Ok(inode) = text.parse() {
        return Ok(inode);
    }
    let file = fs::metadata(text).map_err(|error| format!("neither a number nor a file: {error}"))?;
    u32::try_from(file.ino()).map_err(|_| "the file stands for no namespace".to_owned())
}

impl From<FilterArgs> for Filter {
    fn from(args: FilterArgs) -> Self {
        let FilterArgs {
            netns,
            address,
            port,
            pid,
            comm,
            kind,
            event,
            cause,
            place,
            diagnoses,
            no_diagnoses,
            no_listeners,
        } = args;
        let show = match (diagnoses, no_diagnoses) {
            (true, _) => Show::Diagnoses,
            (_, true) => Show::Events,
            (false, false) => Show::All,
        };
        Self { netns, address, port, pid, comm, kind, event, cause, place: place.into(), show, no_listeners }
    }
}
