//! Cuts a kernel's BTF down to what the agent asks of it: some kilobytes of five megabytes, which can be
//! kept. In the byte order of the original.

use std::collections::{BTreeMap, BTreeSet};

use super::{Btf, ByteOrder, Kind, MAGIC, Type};

/// What is kept.
#[derive(Debug, Default)]
pub struct Wanted<'a> {
    /// Member paths of structures, by the structure's name.
    pub members: BTreeMap<&'a str, BTreeSet<&'a str>>,
    /// Values of enums, by the enum's name; all of them if none is named.
    pub enums: BTreeMap<&'a str, BTreeSet<&'a str>>,
    /// Tracepoints.
    pub tracepoints: BTreeSet<&'a str>,
    /// Functions.
    pub functions: BTreeSet<&'a str>,
}

/// The blob with only what is wanted, as far as the kernel has it.
pub fn prune(btf: &Btf<'_>, wanted: &Wanted<'_>) -> Vec<u8> {
    let mut pruned = Pruned { btf, types: Vec::new(), strings: vec![0], count: 0, sizes: BTreeMap::new() };
    for (name, paths) in &wanted.members {
        if let Some(found) = btf.named(name, |read| read.kind == Kind::Composite) {
            let paths: Vec<&str> = paths.iter().copied().collect();
            pruned.composite(found, &paths);
        }
    }
    for (name, values) in &wanted.enums {
        pruned.values(name, values);
    }
    for name in &wanted.tracepoints {
        pruned.tracepoint(name);
    }
    for name in wanted.functions.iter().filter(|name| btf.has_function(name)) {
        pruned.function(name);
    }
    pruned.blob()
}

// Kinds as `kind_of` reads them.
const INT: u32 = 1;
const POINTER: u32 = 2;
const STRUCT: u32 = 4;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;

struct Pruned<'a, 'b> {
    btf: &'a Btf<'b>,
    types: Vec<u32>,
    strings: Vec<u8>,
    count: u32,
    /// An integer for each size that a member has.
    sizes: BTreeMap<u32, u32>,
}

impl Pruned<'_, '_> {
    /// Adds a type and returns its id.
    fn add(&mut self, name: u32, info: u32, size_or_id: u32, rest: &[u32]) -> u32 {
        self.types.extend([name, info, size_or_id]);
        self.types.extend(rest);
        self.count += 1;
        self.count
    }

    fn string(&mut self, text: &[u8]) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(text);
        self.strings.push(0);
        at
    }

    /// The members of `from` that `paths` go through.
    fn composite(&mut self, from: Type, paths: &[&str]) -> u32 {
        let mut members = Vec::new();
        for index in 0..usize::from(from.vlen) {
            let Some((name, _, id)) = self.btf.member_at(from, index) else { continue };
            if let Some(to) = self.member(name, id, paths) {
                let name = self.string(name);
                let offset = self.btf.word(from.data + index * 12 + 8).unwrap();
                members.push([name, to, offset]);
            }
        }
        let name = self.string(self.btf.string(from.name));
        let info = STRUCT << 24 | u32::from(from.flag) << 31 | members.len() as u32;
        self.add(name, info, from.size_or_id, members.as_flattened())
    }

    /// The new type of a member, if a path goes through it.
    fn member(&mut self, name: &[u8], id: u32, paths: &[&str]) -> Option<u32> {
        let read = self.btf.resolve(id)?;
        if name.is_empty() {
            let inside: Vec<&str> =
                paths.iter().copied().filter(|path| self.is_in(read, first(path).0)).collect();
            return (!inside.is_empty()).then(|| self.composite(read, &inside));
        }
        let through: Vec<_> =
            paths.iter().map(|path| first(path)).filter(|(step, _)| step.as_bytes() == name).collect();
        let rests: Vec<&str> = through.iter().filter_map(|(_, rest)| *rest).collect();
        match (through.is_empty(), rests.is_empty()) {
            (true, _) => None,
            (false, true) => Some(self.leaf(id)),
            (false, false) => Some(self.composite(read, &rests)),
        }
    }

    fn is_in(&self, composite: Type, name: &str) -> bool {
        self.btf.find_member(composite, name, 0).is_some()
    }

    /// Of whatever type: only the size is asked for.
    fn leaf(&mut self, id: u32) -> u32 {
        let size = self.btf.size_of_type(id, 0).unwrap_or(0);
        if let Some(&known) = self.sizes.get(&size) {
            return known;
        }
        let name = self.string(format!("int{size}").as_bytes());
        let id = self.add(name, INT << 24, size, &[size * 8]);
        self.sizes.insert(size, id);
        id
    }

    fn values(&mut self, name: &str, wanted: &BTreeSet<&str>) {
        let Some(values) = self.btf.enum_values(name) else { return };
        let kept = values.iter().filter(|(name, _)| wanted.is_empty() || wanted.contains(name.as_str()));
        let kept: Vec<[u32; 2]> =
            kept.map(|(name, value)| [self.string(name.as_bytes()), value.cast_unsigned()]).collect();
        let name = self.string(name.as_bytes());
        self.add(name, ENUM << 24 | kept.len() as u32, 4, kept.as_flattened());
    }

    /// `typedef void (*btf_trace_NAME)(void *, ...)`.
    fn tracepoint(&mut self, name: &str) {
        let Some(args) = self.btf.tracepoint_args(name) else { return };
        let parameters = vec![0; (args + 1) * 2];
        let proto = self.add(0, FUNC_PROTO << 24 | (args as u32 + 1), 0, &parameters);
        let pointer = self.add(0, POINTER << 24, proto, &[]);
        let name = self.string(format!("btf_trace_{name}").as_bytes());
        self.add(name, TYPEDEF << 24, pointer, &[]);
    }

    fn function(&mut self, name: &str) {
        let args = self.btf.function_args(name).unwrap_or(0);
        let proto = self.add(0, FUNC_PROTO << 24 | args as u32, 0, &vec![0; args * 2]);
        let name = self.string(name.as_bytes());
        self.add(name, FUNC << 24, proto, &[]);
    }

    fn blob(self) -> Vec<u8> {
        let Self { btf, types, strings, .. } = self;
        let bytes = |word: &u32| match btf.order {
            ByteOrder::Little => word.to_le_bytes(),
            ByteOrder::Big => word.to_be_bytes(),
        };
        let types: Vec<u8> = types.iter().flat_map(bytes).collect();
        let magic = match btf.order {
            ByteOrder::Little => MAGIC.to_le_bytes(),
            ByteOrder::Big => MAGIC.to_be_bytes(),
        };
        // Version 1, no flags; then the header's length and the two sections.
        let mut blob = [magic[0], magic[1], 1, 0].to_vec();
        let (types_len, strings_len) = (types.len() as u32, strings.len() as u32);
        blob.extend([24, 0, types_len, types_len, strings_len].iter().flat_map(bytes));
        blob.extend(types);
        blob.extend(strings);
        blob
    }
}

/// The first step of a path, and the rest.
fn first(path: &str) -> (&str, Option<&str>) {
    path.split_once('.').map_or((path, None), |(step, rest)| (step, Some(rest)))
}
