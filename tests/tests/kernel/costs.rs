//! The verifier's work on each program, as docs/kernels.md keeps it.

use std::collections::BTreeMap;

/// More than this, in percent of what it was, is a jump.
const LIMIT: u64 = 25;

/// Fewer instructions more than this are none, whatever their share.
const SMALL: u64 = 100;

/// A program whose cost is another than it was, instructions.
pub struct Change {
    /// Its name.
    pub program: String,
    /// In docs/kernels.md.
    pub before: u64,
    /// On this kernel.
    pub now: u64,
}

impl Change {
    /// For `cargo xtask vm`.
    pub fn fact(&self) -> String {
        let Self { program, before, now } = self;
        format!("cost {program} {before} {now}")
    }

    /// Whether it is worth a stop.
    pub fn is_jump(&self) -> bool {
        self.now > self.before + SMALL && self.now * 100 > self.before * (100 + LIMIT)
    }

    /// For people.
    pub fn words(&self) -> String {
        let Self { program, before, now } = self;
        format!("{program} takes the verifier {now} instructions, and {before} before (limit {LIMIT} % more)")
    }
}

/// Instructions of each program in the column of `line`; 0 where that kernel does not show them.
pub fn of_line<'a>(page: &'a str, line: &str) -> Option<BTreeMap<&'a str, u64>> {
    let mut rows = page.lines().map(cells).skip_while(|cells| cells.first() != Some(&"program"));
    let column = rows.next()?.iter().position(|head| *head == line)?;
    let rows = rows.skip(1).take_while(|cells| cells.len() > column);
    Some(rows.map(|cells| (cells[0].trim_matches('`'), cells[column].parse().unwrap_or(0))).collect())
}

fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn a_column_is_found_by_its_line() {
    let page = "# x\n| line | release |\n|---|---|\n| 6.1 | y |\n\n| program | 5.10 | 6.1 |\n|---|---|---|\n\
                | `a` | taken | 12 |\n| `b` | none | 9 |\n\n| what | missing on |\n";
    assert_eq!(of_line(page, "6.1"), Some(BTreeMap::from([("a", 12), ("b", 9)])));
    assert_eq!(of_line(page, "5.10"), Some(BTreeMap::from([("a", 0), ("b", 0)])));
    assert_eq!(of_line(page, "6.2"), None);
}

#[test]
fn only_much_more_is_a_jump() {
    let is_jump = |before, now| Change { program: String::new(), before, now }.is_jump();
    assert!(is_jump(1000, 1300) && is_jump(18, 200));
    assert!(!is_jump(1000, 1250) && !is_jump(18, 90) && !is_jump(1000, 10));
}
