//! What the program is made of, in CycloneDX 1.5 (<https://cyclonedx.org/docs/1.5/json/>), from cargo's own
//! resolution: crates that are linked, not those that only build or test.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Node, Package, PackageId};
use serde_json::{Value, json};

use super::Platform;
use crate::workspace;

/// The crate that the program is of.
const ROOT: &str = "agent";
/// Linked into the object that the program carries.
const KERNEL_SIDE: &str = "agent-ebpf";

/// For a platform, as JSON. Without a time and a serial number: the same sources give the same bytes.
pub fn of(platform: Platform) -> Result<String> {
    let mut command = MetadataCommand::new();
    command.manifest_path(workspace::root().join("Cargo.toml"));
    command.other_options(["--locked", "--filter-platform", platform.target()].map(str::to_owned));
    let metadata = command.exec().context("ask cargo for the dependencies")?;
    let bom = bill(&metadata, platform).context("cargo named no dependencies")?;
    serde_json::to_string_pretty(&bom).context("write the bill of materials")
}

fn bill(metadata: &Metadata, platform: Platform) -> Option<Value> {
    let nodes: BTreeMap<_, _> =
        metadata.resolve.as_ref()?.nodes.iter().map(|node| (&node.id, node)).collect();
    let packages: BTreeMap<_, _> = metadata.packages.iter().map(|package| (&package.id, package)).collect();
    let named = |name| packages.values().find(|package| package.name.as_str() == name);
    let roots = [&named(ROOT)?.id, &named(KERNEL_SIDE)?.id];
    let linked = reachable(&nodes, roots);
    let root = packages.get(roots[0])?;
    Some(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {
            "type": "application",
            "bom-ref": purl(root),
            "name": "tcpwhy",
            "version": root.version.to_string(),
            "properties": [{"name": "tcpwhy:target", "value": platform.target()}],
        }},
        "components": linked.iter().filter(|id| **id != roots[0])
            .filter_map(|id| packages.get(id).map(|package| component(package))).collect::<Vec<_>>(),
        "dependencies": linked.iter().filter_map(|id| {
            let on: BTreeSet<_> = linked_by(nodes.get(id)?).filter_map(|id| packages.get(id)).map(|on| purl(on)).collect();
            Some(json!({"ref": purl(packages.get(id)?), "dependsOn": on}))
        }).collect::<Vec<_>>(),
    }))
}

fn reachable<'a>(
    nodes: &BTreeMap<&'a PackageId, &'a Node>,
    roots: [&'a PackageId; 2],
) -> BTreeSet<&'a PackageId> {
    let (mut found, mut open) = (BTreeSet::new(), roots.to_vec());
    while let Some(id) = open.pop() {
        if found.insert(id) {
            open.extend(nodes.get(id).into_iter().flat_map(|node| linked_by(node)));
        }
    }
    found
}

/// Crates that end in what this one makes.
fn linked_by(node: &Node) -> impl Iterator<Item = &PackageId> {
    let is_normal =
        |dep: &&cargo_metadata::NodeDep| dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
    node.deps.iter().filter(is_normal).map(|dep| &dep.pkg)
}

fn component(package: &Package) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(package),
        "name": package.name.as_str(),
        "version": package.version.to_string(),
        "purl": purl(package),
    });
    if let Some(licence) = &package.license {
        // A slash is how crates wrote "or" before there were expressions.
        component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
    }
    component
}

/// <https://github.com/package-url/purl-spec>
fn purl(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}
