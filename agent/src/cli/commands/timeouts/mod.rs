//! `tcpwhy timeouts`

use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::SignedDuration;

use self::report::TimeoutsReport;
use self::settings::{Host, Settings};

mod json;
mod plot;
mod report;
mod settings;
#[cfg(test)]
mod tests;
mod text;

/// When the kernel retransmits, and when it gives up.
///
/// Forwards: the schedule of a connection whose peer falls silent, and the instant it dies. Backwards
/// (--within): the tcp_retries2 with which it dies in time. What is not given is read from this network
/// namespace. Without an option: what this host does with data.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::doc_markdown, reason = "these comments are the help text")]
pub struct Timeouts {
    /// tcp_retries2: how long data is retransmitted
    #[arg(long, value_name = "N")]
    pub retries2: Option<u8>,
    /// RTO when the peer falls silent, or a range such as 201ms..1s [default: rto_min and one jiffy]
    #[arg(long, value_name = "TIME[..TIME]")]
    pub rto: Option<Rtos>,
    /// tcp_rto_min_us: an RTO is the round trip and at least this
    #[arg(long, value_name = "TIME")]
    pub rto_min: Option<Time>,
    /// tcp_rto_max_ms: no RTO is longer
    #[arg(long, value_name = "TIME")]
    pub rto_max: Option<Time>,
    /// TCP_USER_TIMEOUT of the socket
    #[arg(long, value_name = "TIME")]
    pub user_timeout: Option<Time>,
    /// The socket is closed: tcp_orphan_retries counts instead of tcp_retries2
    #[arg(long)]
    pub orphan: bool,
    /// tcp_orphan_retries
    #[arg(long, value_name = "N", requires = "orphan")]
    pub orphan_retries: Option<u8>,
    /// A connect(): tcp_syn_retries
    #[arg(long, value_name = "N")]
    pub syn_retries: Option<u8>,
    /// A connect(): tcp_syn_linear_timeouts, SYNs before the timeout begins to double
    #[arg(long, value_name = "N")]
    pub syn_linear: Option<u8>,
    /// A half-open connection of a listener: tcp_synack_retries
    #[arg(long, value_name = "N")]
    pub synack_retries: Option<u8>,
    /// An idle connection with SO_KEEPALIVE
    #[arg(long)]
    pub keepalive: bool,
    /// TCP_KEEPIDLE or tcp_keepalive_time
    #[arg(long, value_name = "TIME", requires = "keepalive")]
    pub keepalive_time: Option<Time>,
    /// TCP_KEEPINTVL or tcp_keepalive_intvl
    #[arg(long, value_name = "TIME", requires = "keepalive")]
    pub keepalive_intvl: Option<Time>,
    /// TCP_KEEPCNT or tcp_keepalive_probes
    #[arg(long, value_name = "N", requires = "keepalive")]
    pub keepalive_probes: Option<u8>,
    /// Find the tcp_retries2 with which a connection dies no later than this
    #[arg(long, value_name = "TIME",
        conflicts_with_all = ["retries2", "user_timeout", "orphan", "syn_retries", "syn_linear", "synack_retries", "keepalive"])]
    pub within: Option<Time>,
    /// Timer interrupts a second of the kernel, for the rounding of its timers
    #[arg(long, value_name = "HZ", value_parser = clap::value_parser!(u32).range(10..=10_000))]
    pub hz: Option<u32>,
    /// Draw the schedules as curves too
    #[arg(long, conflicts_with_all = ["output", "within"])]
    pub plot: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

const EXAMPLES: &str = "\
Examples:
  tcpwhy timeouts                                    what this host does with data
  tcpwhy timeouts --retries2 15                      924.6 s and the sixteen steps
  tcpwhy timeouts --retries2 8 --rto 300ms --rto-max 10s
  tcpwhy timeouts --plot                             the backoff as a curve
  tcpwhy timeouts --user-timeout 30s
  tcpwhy timeouts --orphan --orphan-retries 2
  tcpwhy timeouts --syn-retries 6 --syn-linear 4
  tcpwhy timeouts --synack-retries 5
  tcpwhy timeouts --keepalive --keepalive-time 60s --keepalive-intvl 10s --keepalive-probes 3
  tcpwhy timeouts --within 30s --rto 201ms..1s       the tcp_retries2 to set
  tcpwhy timeouts -o json | jq .data.gives_up_ms

JSON: one object. `version` is 1. `settings` has each value with its `source` (given, host, default).
`data`, `syn`, `synack` and `keepalive`, whichever was asked for, have `rule`, `steps` (`n`, `rto_ms`,
`elapsed_ms`; the last step gives up), `sent`, `gives_up_ms` on exact timers and, if timers are rounded,
`gives_up_rounded_ms` [earliest, latest]; `data` and `syn` also `model_ms`, the kernel's T(N), and
`model_steps`. With --within there is `within` instead: `within_ms`, `retries2` (null: none is short
enough), `latest_ms`, `rfc1122_retries2`, `below_rfc1122`. Times are ms from the first transmission.

Exit status: 0 printed, 64 wrong usage.";

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people, 80 columns
    #[default]
    Text,
    /// One object for programs
    Json,
}

/// A duration of at least a millisecond, as in `30s`, `1m30s`, `201ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time: SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
        let time = Duration::try_from(time).map_err(|_| "a time can't be negative".to_owned())?;
        let range = Duration::from_millis(1)..=Duration::from_secs(u32::MAX.into());
        if range.contains(&time) { Ok(Self(time)) } else { Err("a time is 1ms to 136 years".to_owned()) }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::time(self.0).fmt(f)
    }
}

/// One RTO, or a range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtos {
    /// The shortest.
    pub least: Duration,
    /// The longest.
    pub most: Duration,
}

impl FromStr for Rtos {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let (Time(least), Time(most)) = (least.parse()?, most.parse()?);
        if least <= most { Ok(Self { least, most }) } else { Err("the range is backwards".to_owned()) }
    }
}

/// Prints what `args` ask for to `out`.
pub fn run(args: &Timeouts, out: &mut impl Write) -> anyhow::Result<()> {
    let report = TimeoutsReport::new(args, Settings::new(args, &Host::here()));
    match args.output {
        Format::Text => write!(out, "{}", text::ScheduleText(&report))?,
        Format::Json => writeln!(out, "{}", json::object(&report))?,
    }
    Ok(())
}
