//! Events to the standard output, from a feed or from an agent's stream.

use agent_model::escape::Escaped;
use clap::ValueEnum;

use super::printer::{self, Printer};
use crate::filter::Filter;
use crate::schema::{Item, LineError};
use crate::serve::api::select;
use crate::serve::feed::Reader;
use crate::text::{LineStyle, Text};

/// Form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// Aligned lines for people, coloured on a terminal.
    Text,
    /// One JSON object a line: docs/schema.md.
    Json,
}

/// Formats one stream.
#[derive(Debug)]
pub(super) enum Formatter {
    /// For people.
    Text(Text),
    /// For programs.
    Json,
}

impl Formatter {
    pub(super) fn new(output: Output, style: LineStyle) -> Self {
        match output {
            Output::Text => Self::Text(Text::new(style)),
            Output::Json => Self::Json,
        }
    }

    /// What comes before the first event.
    pub(super) fn header(&self) -> String {
        match self {
            Self::Text(text) => text.header(),
            Self::Json => String::new(),
        }
    }

    pub(super) fn item(&mut self, item: &Item) -> String {
        match self {
            Self::Text(text) => text.line(item),
            Self::Json => item.to_json(),
        }
    }

    /// A line as the agent wrote it. As JSON it passes as it is: a newer agent may know more fields.
    pub(super) fn line(&mut self, line: &str) -> Result<String, LineError> {
        match self {
            Self::Json => Ok(format!("{line}\n")),
            Self::Text(text) => match Item::parse(line.as_bytes()) {
                Ok(item) => Ok(text.line(&item)),
                Err(LineError::Json(error)) => Ok(format!("(not understood: {error}: {})\n", Escaped(line))),
                Err(error @ LineError::Version(_)) => Err(error),
            },
        }
    }
}

/// Prints what `filter` takes of a feed until it ends or nobody reads any more.
pub(super) async fn print_feed(
    mut reader: Reader,
    filter: &Filter,
    hz: u32,
    mut formatter: Formatter,
) -> anyhow::Result<()> {
    let printer = Printer::stdout();
    let print = async {
        printer.print(formatter.header()).await?;
        while let Some(item) = reader.next().await {
            let line = select(item, filter, hz);
            printer.print(line.map(|line| formatter.item(&line)).unwrap_or_default()).await?;
        }
        Ok::<_, printer::Closed>(())
    };
    tokio::select! {
        // Why it is closed, `finish` knows.
        _ = print => (),
        () = printer::stdout_closed() => return Ok(()),
    }
    Ok(printer.finish().await?)
}
