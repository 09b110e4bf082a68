//! `tcpwhy replay`

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent_correlate::observed::Observed;
use agent_diagnose::Diagnosed;
use agent_model::frame::Frame;
use agent_model::limits::Limits;
use agent_source::recording::{Counted, Problem, Reader};
use anyhow::{Context as _, bail};
use clap::Args;
use parking_lot::Mutex;

use crate::cli::flags::filter::FilterArgs;
use crate::cli::flags::style::StyleArgs;
use crate::cli::output::{Formatter, Output};
use crate::filter::Filter;
use crate::metrics::{Format, Metrics};
use crate::pipeline::{Pipeline, Sink};
use crate::schema::Gap;
use crate::serve::api::select;
use crate::serve::feed::{Feed, FeedItem};

/// Problems that are printed one by one.
const MAX_WARNINGS: usize = 10;

/// Run a recording through the same road as live events, and print what `tcpwhy tail` prints.
///
/// Needs no rights and no kernel. Frames that are damaged or missing are told on the standard error; what
/// comes before and after them is printed all the same.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  tcpwhy replay trouble.rec
  tcpwhy replay --port 443 -o json trouble.rec | jq .reset
  tcpwhy replay --metrics trouble.rec         what a scrape gave at the end of it
  ssh HOST tcpwhy record --duration 30s - | tcpwhy replay -

Exit status: 0 the recording is whole, 1 it is not, 64 wrong usage.")]
pub(in crate::cli) struct Replay {
    /// The recording; - is the standard input.
    file: PathBuf,
    /// Form of the output.
    #[arg(short, long, value_enum, env = "TCPWHY_OUTPUT", default_value = "text", value_name = "FORM")]
    output: Output,
    /// Print the metrics at the end of the recording in place of events.
    #[arg(long, conflicts_with_all = ["output"])]
    metrics: bool,
    #[command(flatten)]
    style: StyleArgs,
    #[command(flatten)]
    filter: FilterArgs,
}

impl Replay {
    pub(in crate::cli) fn run(self) -> anyhow::Result<()> {
        let Self { file, output, metrics, style, filter } = self;
        let to = io::stdout().lock();
        if metrics {
            print_metrics(&file, to)
        } else {
            print_events(&file, Formatter::new(output, style.lines()), &filter.into(), to)
        }
    }
}

/// What one frame made.
#[derive(Debug, Default)]
struct Gathered(Vec<FeedItem>);

impl Sink for Gathered {
    fn observed(&mut self, observed: Arc<Observed>) {
        self.0.push(FeedItem::Event(observed));
    }

    fn diagnosed(&mut self, diagnosed: Arc<Diagnosed>) {
        self.0.push(FeedItem::Diagnosis(diagnosed));
    }

    fn gap(&mut self, gap: Arc<Gap>) {
        self.0.push(FeedItem::Gap(gap));
    }
}

/// Prints what `tail` would have printed.
fn print_events(
    path: &Path,
    mut formatter: Formatter,
    filter: &Filter,
    to: impl Write,
) -> anyhow::Result<()> {
    let reader = open(path)?;
    let mut to = BufWriter::new(to);
    to.write_all(formatter.header().as_bytes())?;
    let mut pipeline = Pipeline::new(Limits::default(), Gathered::default());
    let whole = frames(reader, path, |frame| {
        pipeline.push(&frame);
        print_gathered(&mut pipeline, filter, &mut formatter, &mut to)
    });
    pipeline.settle(u64::MAX);
    print_gathered(&mut pipeline, filter, &mut formatter, &mut to)?;
    // Whatever came before a failure is printed before the failure.
    to.flush()?;
    whole
}

fn print_gathered(
    pipeline: &mut Pipeline<Gathered>,
    filter: &Filter,
    formatter: &mut Formatter,
    to: &mut impl Write,
) -> io::Result<()> {
    let hz = pipeline.correlator().host().hz;
    let mut items = pipeline.sink_mut().0.drain(..).filter_map(|item| select(item, filter, hz));
    items.try_for_each(|item| to.write_all(formatter.item(&item).as_bytes()))
}

/// Prints what a scrape would have given at the end.
fn print_metrics(path: &Path, mut to: impl Write) -> anyhow::Result<()> {
    let reader = open(path)?;
    let (mut pipeline, mut counted) =
        (Pipeline::new(Limits::default(), |_: Arc<Observed>| ()), Counted::default());
    let whole = frames(reader, path, |frame| {
        counted.take(&frame);
        pipeline.push(&frame);
        Ok(())
    });
    pipeline.settle(u64::MAX);
    let host = Arc::new(pipeline.correlator().host().clone());
    let metrics = Metrics::new(Arc::new(counted), Arc::new(Mutex::new(pipeline)), Feed::default(), host);
    to.write_all(metrics.render(Format::OpenMetrics)?.as_bytes())?;
    to.flush()?;
    whole
}

/// A recording from its first frame on.
pub(in crate::cli) type Frames = Reader<Box<dyn Read>>;

/// Opens a recording; - is the standard input.
pub(in crate::cli) fn open(path: &Path) -> anyhow::Result<Frames> {
    let read = || format!("read {}", path.display());
    let input: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(File::open(path).with_context(read)?),
    };
    Reader::new(input).with_context(read)
}

/// Hands every frame that can be read to `each`. Fails with the first failure of `each`, or at the end if the
/// recording is not whole.
pub(in crate::cli) fn frames(
    reader: Frames,
    path: &Path,
    each: impl FnMut(Frame) -> io::Result<()>,
) -> anyhow::Result<()> {
    let problems = hand_on(reader, each)?;
    if problems > 0 {
        bail!("{} is not whole", path.display());
    }
    Ok(())
}

/// Prints the first problems and returns their number.
fn hand_on(
    reader: impl Iterator<Item = Result<Frame, Problem>>,
    mut each: impl FnMut(Frame) -> io::Result<()>,
) -> io::Result<usize> {
    let mut problems = 0;
    for item in reader {
        match item {
            Ok(frame) => each(frame)?,
            Err(problem) => {
                warn(problems, problem);
                problems += 1;
            }
        }
    }
    Ok(problems)
}

fn warn(before: usize, problem: Problem) {
    match before {
        ..MAX_WARNINGS => log::warn!("{:#}", anyhow::Error::new(problem)),
        MAX_WARNINGS => log::warn!("and more of the kind"),
        _ => (),
    }
}
