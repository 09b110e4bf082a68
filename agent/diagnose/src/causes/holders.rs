//! Who has the memory that ran out: not a cause, but evidence of those that are about memory of many sockets.

use std::cmp::Reverse;
use std::time::Duration;

use agent_correlate::families::ProcessFamily;
use agent_model::cause::NamesHolders;
use agent_model::units::{amount, plural, process, size, time};

use super::Finding;
use super::shortage::PageSize;
use crate::story::Story;

/// Families that are named.
const NAMED: usize = 3;

/// Adds who holds most of what the cause is about, and what their connections take of the limit.
pub(super) fn name(finding: Finding, story: &Story) -> Finding {
    match finding.cause.row().holders {
        NamesHolders::OfHost => of_host(finding, story),
        NamesHolders::OfCgroup => of_cgroup(finding, story),
        NamesHolders::Never => finding,
    }
}

/// A family, and how much of the memory in question is its own, bytes.
type Share<'a> = (&'a ProcessFamily, u64);

/// The whole host's TCP memory.
fn of_host(finding: Finding, story: &Story) -> Finding {
    let all: Vec<Share> = story.families.iter().map(|family| (family, family.memory)).collect();
    let Some(most) = most("TCP's memory on this host", &all, story) else { return finding };
    let finding = finding.saw(most).saw_if(nobody(story, &all));
    let Some(memory) = story.memory else { return finding };
    let high = PageSize::of(story).bytes(memory.limits[2]);
    fill(finding, &all, high, "tcp_mem's high")
}

/// The memory of the sockets of one cgroup.
fn of_cgroup(finding: Finding, story: &Story) -> Finding {
    let Some(cgroup) = story.connection.and_then(|known| known.memory_cgroup) else { return finding };
    let inside = |family: &ProcessFamily| {
        family.cgroups.iter().find(|(id, _)| *id == cgroup.get()).map(|(_, sum)| *sum)
    };
    let mut all: Vec<Share> =
        story.families.iter().filter_map(|family| Some((family, inside(family)?))).collect();
    all.sort_by_key(|(_, memory)| Reverse(*memory));
    let Some(most) = most("the cgroup's socket memory", &all, story) else { return finding };
    let limit = story.cgroup.and_then(|memory| memory.limit).unwrap_or(0);
    fill(finding.saw(most), &all, limit, "the cgroup's limit")
}

/// `most of TCP's memory on this host: httpd[100] 43.1 MiB in 501 sockets of 500 processes, ...`
fn most(what: &str, shares: &[Share], story: &Story) -> Option<String> {
    let some: Vec<_> = shares.iter().filter(|(_, memory)| *memory > 0).collect();
    let (named, others) = some.split_at(some.len().min(NAMED));
    let mut parts: Vec<_> = named.iter().map(|share| one(share)).collect();
    (!parts.is_empty()).then_some(())?;
    if !others.is_empty() {
        let rest: u64 = others.iter().map(|(_, memory)| memory).sum();
        parts.push(format!("{} {}", amount(others.len() as u64, "other", "others together"), size(rest)));
    }
    Some(format!("most of {what}: {}{}", parts.join(", "), age(story)))
}

/// Sockets and processes are those of the whole family: named if all of its memory is meant.
fn one(&(family, memory): &Share) -> String {
    let name = format!("{} {}", process(&family.root), size(memory));
    if memory != family.memory {
        return name;
    }
    let members = family.counts.children + family.counts.others;
    let processes = if members > 0 {
        format!(" of {}", amount(members + 1, "process", "processes"))
    } else {
        String::new()
    };
    format!("{name} in {}{processes}", plural(family.counts.sockets, "socket"))
}

/// How old what the walk over open files found is.
fn age(story: &Story) -> String {
    let age = story.families.time().map_or(0, |walked| story.time.saturating_sub(walked));
    if age < 1_000_000_000 {
        return String::new();
    }
    format!(" ({} before)", time(Duration::from_secs(age / 1_000_000_000)))
}

/// What closed sockets have: no process holds it. Charges that processors keep to themselves blur it.
fn nobody(story: &Story, shares: &[Share]) -> Option<String> {
    let memory = story.memory.filter(|memory| memory.orphans > 0)?;
    let held: u64 = shares.iter().map(|(_, memory)| memory).sum();
    let rest = PageSize::of(story).bytes(memory.pages).checked_sub(held).filter(|rest| *rest > 0)?;
    let orphans = plural(memory.orphans, "closed socket");
    Some(format!("about {} is no process's: {orphans} that the kernel still serves", size(rest)))
}

/// `10000 connections of httpd[100] at 32.0 KiB are 312.5 MiB, 41 % of tcp_mem's high, which 24384 of them
/// would fill`, of the largest holder.
fn fill(finding: Finding, shares: &[Share], limit: u64, name: &str) -> Finding {
    let first = shares.first().filter(|(family, memory)| *memory == family.memory && limit > 0);
    match first.and_then(|(family, _)| filled(family, limit, name)) {
        Some(text) => finding.infer(text),
        None => finding,
    }
}

fn filled(family: &ProcessFamily, limit: u64, name: &str) -> Option<String> {
    let connections = u64::from(family.connections());
    let each = family.memory.checked_div(connections)?;
    let filled = limit.checked_div(each)?;
    let percent = family.memory.saturating_mul(100).checked_div(limit)?;
    Some(format!(
        "{} of {} at {} are {}, {percent} % of {name}, which {filled} of them would fill",
        plural(connections, "connection"),
        process(&family.root),
        size(each),
        size(family.memory),
    ))
}
