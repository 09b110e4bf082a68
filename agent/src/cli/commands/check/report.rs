//! What was found out, and the verdict on it.

use agent_model::counters::ProgramStats;
use agent_source::kernel::probes::{ProbeState, ProbeStatus};
use agent_source::kernel::{LoadError, Loss, Survey};
use schemars::JsonSchema;
use serde::Serialize;
use serde_with::skip_serializing_none;

use super::advice;
use super::surroundings::Surroundings;

/// Version of the report's fields.
const VERSION: u32 = 1;

/// Everything.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CheckReport {
    /// Version of the schema.
    pub v: u32,
    /// All in one word.
    pub verdict: Verdict,
    /// The host and this process.
    #[serde(flatten)]
    pub surroundings: Surroundings,
    /// The table of probes; empty if the kernel refused all of them.
    pub probes: Vec<ProbeReport>,
    /// What is wrong or worth knowing.
    pub findings: Vec<Finding>,
}

/// Whether the agent can do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All of it.
    Ready,
    /// Something is lost.
    Degraded,
    /// It cannot run.
    Unable,
}

/// One probe.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ProbeReport {
    /// The signal's word.
    pub name: &'static str,
    /// Where it sits in the kernel.
    pub hook: String,
    /// Without it the agent does not start.
    pub required: bool,
    /// What became of it.
    pub state: State,
    /// Why it is not up.
    pub error: Option<String>,
    /// What cannot be known.
    pub lost: Vec<&'static str>,
    /// Instructions that the verifier walked; absent before 5.16.
    pub instructions: Option<u64>,
}

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Attached, and reports all that it can.
    Up,
    /// Attached; this kernel keeps a part from it.
    Degraded,
    /// The kernel does not have the hook.
    Missing,
    /// The kernel refused the program.
    Refused,
    /// The kernel refused the program without reading it.
    NotPermitted,
}

/// Something that is not as it should be, or costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What is so.
    pub what: String,
    /// What to do about it.
    pub advice: Vec<String>,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The agent cannot run.
    Fatal,
    /// Something is lost.
    Loss,
    /// Nothing is lost.
    Note,
}

impl CheckReport {
    /// Judges what became of the programs in these surroundings.
    pub fn new(surroundings: Surroundings, survey: Result<&Survey, &LoadError>) -> Self {
        let (probes, mut findings) = match survey {
            Ok(survey) => (probes(survey), of_survey(survey, &surroundings)),
            Err(error) => (Vec::new(), vec![advice::of_refusal(error, &surroundings)]),
        };
        findings.extend(advice::of_surroundings(&surroundings));
        let verdict = verdict(&probes, &findings);
        Self { v: VERSION, verdict, surroundings, probes, findings }
    }
}

/// What the table of probes does not show.
fn of_survey(survey: &Survey, surroundings: &Surroundings) -> Vec<Finding> {
    let general = survey.lost.iter().filter(|loss| loss.probe.is_none());
    let mut findings = advice::of_probes(&survey.probes, surroundings);
    findings.extend(general.map(advice::of_kernel));
    findings
}

fn verdict(probes: &[ProbeReport], findings: &[Finding]) -> Verdict {
    let has = |level| findings.iter().any(|finding| finding.level == level);
    if has(Level::Fatal) {
        Verdict::Unable
    } else if has(Level::Loss) || probes.iter().any(|probe| probe.state != State::Up) {
        Verdict::Degraded
    } else {
        Verdict::Ready
    }
}

fn probes(survey: &Survey) -> Vec<ProbeReport> {
    let Survey { probes, lost, programs } = survey;
    probes.iter().map(|status| probe(status, lost, programs)).collect()
}

fn probe(status: &ProbeStatus, losses: &[Loss], costs: &[ProgramStats]) -> ProbeReport {
    let name = status.probe.name;
    let lost: Vec<_> = losses.iter().filter(|loss| loss.probe == Some(name)).map(|loss| loss.what).collect();
    let cost = costs.iter().find(|cost| cost.name == name).map(|cost| cost.instructions);
    ProbeReport {
        name,
        hook: status.probe.hook.to_string(),
        required: status.probe.required,
        state: state(&status.state, !lost.is_empty()),
        error: status.error(),
        lost,
        instructions: cost.filter(|&instructions| instructions != 0),
    }
}

fn state(state: &ProbeState, loses: bool) -> State {
    match state {
        ProbeState::Up if loses => State::Degraded,
        ProbeState::Up => State::Up,
        ProbeState::Missing => State::Missing,
        ProbeState::Refused(_) => State::Refused,
        ProbeState::NotPermitted => State::NotPermitted,
    }
}
