//! The text format 0.0.4: what `OpenMetrics` names by family, it names by series.

use std::fmt::Write as _;

/// Rewrites our own `OpenMetrics` page, made without exemplars. Its histograms are the same in both.
pub(super) fn from_open_metrics(page: &str) -> String {
    let mut out = String::with_capacity(page.len());
    let mut help = "";
    for line in page.lines() {
        if let Some(text) = line.strip_prefix("# HELP ") {
            help = text;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|text| text.split_once(' '))
        {
            let (suffix, kind) = suffix(kind);
            let help = help.strip_prefix(name).unwrap_or_default();
            let _ = write!(out, "# HELP {name}{suffix}{help}\n# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            out += line;
            out.push('\n');
        }
    }
    out
}

/// What the series' name has more than the family's, and the type as 0.0.4 knows it.
fn suffix(kind: &str) -> (&'static str, &str) {
    match kind {
        "counter" => ("_total", kind),
        "info" => ("_info", "gauge"),
        _ => ("", kind),
    }
}
