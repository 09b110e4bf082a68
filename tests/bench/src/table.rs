//! The one table, in Markdown.

use std::fmt::{self, Display};

/// One measurement beside what it is compared with.
#[derive(Debug, Default)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The other side, e.g. a program that does nothing.
    pub reference: String,
    /// Ours.
    pub ours: String,
    /// Ours by the other, or whatever the budget is about.
    pub ratio: Option<f64>,
    /// The most that [`Self::ratio`] may be.
    pub budget: Option<f64>,
    /// Why it may be more.
    pub why: &'static str,
}

/// Rows in the order they were measured.
#[derive(Debug, Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// Adds a row.
    pub fn push(&mut self, row: Row) {
        eprintln!("{row}");
        self.0.push(row);
    }
}

impl Row {
    fn verdict(&self) -> String {
        match (self.ratio, self.budget) {
            (Some(ratio), Some(budget)) if ratio <= budget => "kept".to_owned(),
            (Some(ratio), Some(budget)) => format!("**missed** by {:.0} %", (ratio / budget - 1.0) * 100.0),
            _ => String::new(),
        }
    }

    fn is_missed(&self) -> bool {
        self.ratio.zip(self.budget).is_some_and(|(ratio, budget)| ratio > budget)
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, reference, ours, ratio, budget, why: _ } = self;
        let number = |value: &Option<f64>| value.map(|value| format!("{value:.2}")).unwrap_or_default();
        let verdict = self.verdict();
        write!(f, "| {what} | {reference} | {ours} | {} | {} | {verdict} |", number(ratio), number(budget))
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "| what | compared with | tcpwhy | ratio | budget | verdict |\n|---|---|---|---|---|---|\n",
        )?;
        self.0.iter().try_for_each(|row| writeln!(f, "{row}"))?;
        let missed = self.0.iter().filter(|row| row.is_missed() && !row.why.is_empty());
        missed.enumerate().try_for_each(|(number, Row { what, why, .. })| {
            let head = if number == 0 { "\nWhy what is missed is missed:\n\n" } else { "" };
            writeln!(f, "{head}- {what}: {why}.")
        })
    }
}

/// The middle of them, which a single disturbed round does not move.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::{Row, median};

    #[test]
    fn median_ignores_an_outlier() {
        assert!((median(vec![3.0, 900.0, 1.0]) - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_row_judges_itself() {
        let row = |ratio| Row { ratio: Some(ratio), budget: Some(6.0), ..Row::default() };
        assert_eq!((&*row(6.0).verdict(), &*row(12.0).verdict()), ("kept", "**missed** by 100 %"));
        assert_eq!(Row::default().verdict(), "");
    }
}
