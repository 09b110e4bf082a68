//! The agent's metrics, read from its `OpenMetrics` text.

use std::collections::BTreeMap;

/// One scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics(Vec<Sample>);

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Parses the text; whatever is neither comment nor sample is an error.
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with("# EOF\n"), "OpenMetrics ends with # EOF");
        Self(text.lines().filter(|line| !line.starts_with('#')).map(Sample::parse).collect())
    }

    /// Sum of all series of `name` that have these labels; `None` if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut matching = self.0.iter().filter(|sample| sample.matches(name, labels)).peekable();
        matching.peek()?;
        Some(matching.map(|sample| sample.value).sum())
    }

    /// The same of a counter that must be there.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.sum(name, labels).unwrap_or_else(|| panic!("no {name}{labels:?}")) as u64
    }
}

impl Sample {
    fn parse(line: &str) -> Self {
        let (sample, _exemplar) = line.split_once(" # ").unwrap_or((line, ""));
        let (series, value) = sample.rsplit_once(' ').unwrap_or_else(|| panic!("not a sample: {line}"));
        let value = value.parse().unwrap_or_else(|_| panic!("not a value: {line}"));
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("labels without end: {line}"));
        Self { name: name.to_owned(), labels: parse_labels(labels), value }
    }

    fn matches(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        let has = |(key, value): &(&str, &str)| self.labels.get(*key).is_some_and(|found| found == value);
        self.name == name && labels.iter().all(has)
    }
}

/// `a="b",c="d"`; the values of these tests hold neither quotes nor commas, escaped or not.
fn parse_labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split("\",").filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("not a label: {pair}"));
            (key.to_owned(), value.trim_end_matches('"').to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn sums_series_with_these_labels() {
        let text = "# TYPE a counter\na_total{k=\"x\",l=\"1\"} 2\na_total{k=\"x\",l=\"2\"} 3 # {t=\"z\"} 1 9.5\nb 1.5\n# EOF\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.count("a_total", &[("k", "x")]), 5);
        assert_eq!(metrics.count("a_total", &[("l", "2"), ("k", "x")]), 3);
        assert_eq!(metrics.sum("a_total", &[("k", "y")]), None);
        assert_eq!(metrics.sum("b", &[]), Some(1.5));
    }
}
