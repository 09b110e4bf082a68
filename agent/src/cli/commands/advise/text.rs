//! Advice for people.

use std::fmt::Write as _;

use agent_advise::{Advice, AdviceReport};
use anstyle::Style;

const BOLD: Style = Style::new().bold();

/// Wrapped at `width`; commands are not, so that they can be copied.
pub(super) fn page(report: &AdviceReport, width: usize, colour: bool) -> String {
    let mut text = String::new();
    let style = if colour { BOLD } else { Style::new() };
    for advice in &report.advice {
        let Advice { setting, netns, now, proposed, observation, effect, risk, command } = advice;
        let change = now.as_ref().map_or_else(|| proposed.clone(), |now| format!("{now} -> {proposed}"));
        let _ = writeln!(text, "{style}{setting}{style:#}: {change}");
        if let Some(netns) = netns {
            let _ = writeln!(text, "  where   network namespace {netns}");
        }
        for (word, what) in [("seen", observation), ("effect", effect), ("risk", risk)] {
            wrap(&mut text, word, what, width);
        }
        let _ = writeln!(text, "  run     {command}\n");
    }
    if report.advice.is_empty() {
        let _ = writeln!(text, "{style}Nothing to change.{style:#}\n");
    }
    let _ = writeln!(text, "{style}Looked at{style:#}");
    report.looked_at.iter().for_each(|what| wrap(&mut text, "-", what, width));
    text
}

fn wrap(text: &mut String, word: &str, what: &str, width: usize) {
    let indent = if word == "-" { 4 } else { 10 };
    let mut line = format!("  {word:<width$}", width = indent - 2);
    let mut column = indent;
    for part in what.split_whitespace() {
        let wide = part.chars().count();
        if column > indent && column + wide > width {
            let _ = writeln!(text, "{}", line.trim_end());
            line = " ".repeat(indent);
            column = indent;
        }
        line += part;
        line.push(' ');
        column += wide + 1;
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_fits_the_width_and_its_command_stays_whole() {
        let command = format!("sysctl -w net.ipv4.tcp_retries2=8 {}", "x".repeat(80));
        let advice = Advice {
            setting: "net.ipv4.tcp_retries2".to_owned(),
            netns: Some(7),
            now: Some("15".to_owned()),
            proposed: "8".to_owned(),
            observation: "word ".repeat(40),
            effect: "effect".to_owned(),
            risk: "risk".to_owned(),
            command: command.clone(),
        };
        let report = AdviceReport { v: 1, advice: vec![advice], looked_at: vec!["history".to_owned()] };
        let page = page(&report, 60, false);
        assert!(
            page.starts_with("net.ipv4.tcp_retries2: 15 -> 8\n  where   network namespace 7\n  seen    word")
        );
        assert!(page.contains(&command), "{page}");
        assert!(page.lines().filter(|line| !line.contains("sysctl")).all(|line| line.len() <= 60), "{page}");
        let nothing = AdviceReport { advice: Vec::new(), ..report };
        assert_eq!(super::page(&nothing, 60, false), "Nothing to change.\n\nLooked at\n  - history\n");
    }

    #[test]
    fn the_schema_file_is_that_of_the_report() {
        crate::schema::file::check::<AdviceReport>("advice");
    }
}
