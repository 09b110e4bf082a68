//! The first words of a line: what happened, of which kind.

use agent_model::escape::Escaped;
use agent_model::signals::{BufLimitExceeded, reset_sent, retransmit, state_changed};
use agent_model::words;

use crate::schema::Line;

/// `retransmit timeout #3 rto 1.632s`, `reset sent NO_SOCKET`, `state changed ESTABLISHED > CLOSE`.
pub(super) fn words(line: &Line) -> String {
    let sections = &line.sections;
    let mut words = line.event.as_str().replace('_', " ");
    for more in [
        sections.retransmit.as_ref().map(|sent| retransmit(line, sent)),
        sections.reset.as_ref().map(reset),
        sections.memory.as_ref().map(memory),
        sections.state_change.as_ref().map(state_change),
    ] {
        let Some(more) = more.filter(|more| !more.is_empty()) else { continue };
        words.push(' ');
        words += &more;
    }
    words
}

/// The timeout is printed where it had to do with the resend.
fn retransmit(line: &Line, sent: &retransmit::Section) -> String {
    let kind = words::kind(sent.kind);
    let kind = if line.event.as_str().starts_with(kind) { "" } else { kind };
    let stage = sent.stage.map(|stage| format!("#{stage}"));
    let rto = sent.rto_ms.filter(|_| sent.stage.is_some()).map(|rto| format!("rto {}", duration(rto)));
    let parts = [Some(kind.to_owned()), stage, rto].into_iter().flatten().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(" ")
}

fn reset(reset: &reset_sent::Section) -> String {
    reset.reason.as_deref().map(|reason| Escaped(reason).to_string()).unwrap_or_default()
}

fn memory(memory: &BufLimitExceeded) -> String {
    format!("{} {}", Escaped(&memory.protocol), words::direction(memory.direction))
}

fn state_change(change: &state_changed::Section) -> String {
    format!("{} > {}", words::state(change.old), words::state(change.new))
}

/// `204ms`, `1.632s`, `120s`.
fn duration(ms: u64) -> String {
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let seconds = format!("{}.{:03}", ms / 1000, ms % 1000);
    format!("{}s", seconds.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_are_short() {
        let shown = [0, 204, 1000, 1632, 1200, 120_000].map(duration);
        assert_eq!(shown, ["0ms", "204ms", "1s", "1.632s", "1.2s", "120s"]);
    }
}
