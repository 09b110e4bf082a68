//! The flags for the form of lines for people.

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;

use crate::cli::printer;
use crate::text::{Clock, Field, LineStyle};

/// How text looks; JSON lines are always whole.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Text")]
pub(in crate::cli) struct StyleArgs {
    /// How times are told.
    #[arg(long, value_enum, env = "TCPWHY_TIME", default_value = "absolute", value_name = "FORM")]
    time: TimeForm,
    /// Columns to print, in this order.
    #[arg(long, value_delimiter = ',', value_name = "COLUMN", hide_possible_values = false,
        value_parser = PossibleValuesParser::new(Field::WORDS).try_map(|word| word.parse::<Field>()))]
    fields: Vec<Field>,
    /// Show names of hosts in place of addresses, once the resolver knows them; nothing waits for it.
    #[arg(long)]
    resolve: bool,
}

/// How times are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum TimeForm {
    /// The wall clock here
    #[default]
    Absolute,
    /// Since the first line
    Relative,
    /// Since the line before
    Delta,
}

impl StyleArgs {
    pub(in crate::cli) fn lines(&self) -> LineStyle {
        let clock = match self.time {
            TimeForm::Absolute => Clock::Absolute(TimeZone::system()),
            TimeForm::Relative => Clock::Relative,
            TimeForm::Delta => Clock::Delta,
        };
        let fields = if self.fields.is_empty() { Field::USUAL.to_vec() } else { self.fields.clone() };
        LineStyle { clock, fields, resolve: self.resolve, colour: printer::colour() }
    }
}
