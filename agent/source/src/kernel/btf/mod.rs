//! A reader of BTF, the kernel's own description of its types (Documentation/bpf/btf.rst).
//!
//! Only what the agent asks: where a member is, what an enum's values are called, how many arguments a
//! tracepoint has. aya's own reader keeps its types private and the one crate made for this is under the
//! LGPL, which a static binary can't honour. Input is not trusted: any bytes give an error or an answer.

#[cfg(test)]
pub mod prune;

use std::collections::HashMap;

use thiserror::Error;

const MAGIC: u16 = 0xeb9f;
const HEADER_LEN: usize = 24;

/// Deepest chain of typedefs, qualifiers or unnamed members that is followed.
const MAX_DEPTH: usize = 32;

/// Why a blob is not BTF that this reader takes.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BtfError {
    /// Neither byte order's magic.
    #[error("not BTF")]
    Magic,
    /// A section or a type ends outside the blob.
    #[error("truncated at byte {0}")]
    Truncated(usize),
    /// A kind newer than this reader: what follows can't be found.
    #[error("unknown kind {kind} of type {id}")]
    Kind {
        /// `BTF_KIND_*`.
        kind: u32,
        /// Type id.
        id: usize,
    },
}

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bits from the start of the outermost structure. A bit field's are counted from its lowest bit on a
    /// little-endian machine, from its highest on a big-endian one.
    pub bit_offset: u32,
    /// Bits of a bit field; 0 for an ordinary member.
    pub bit_size: u32,
    /// Bytes of its type; none where that has no size.
    pub size: Option<u32>,
}

/// Order of the bytes of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// The lowest first.
    Little,
    /// The highest first.
    Big,
}

impl ByteOrder {
    fn of(magic: Option<&[u8]>) -> Result<Self, BtfError> {
        match magic {
            Some(bytes) if bytes == MAGIC.to_le_bytes() => Ok(Self::Little),
            Some(bytes) if bytes == MAGIC.to_be_bytes() => Ok(Self::Big),
            _ => Err(BtfError::Magic),
        }
    }

    fn word(self, bytes: &[u8], at: usize) -> Result<u32, BtfError> {
        let end = at.saturating_add(4);
        let bytes = bytes.get(at..end).and_then(|bytes| bytes.try_into().ok());
        let bytes = bytes.ok_or(BtfError::Truncated(end))?;
        Ok(match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pointer,
    Array,
    Composite,
    Enum,
    Enum64,
    /// Typedefs, qualifiers and type tags: a name for another type.
    Alias,
    Func,
    FuncProto,
    Other,
}

#[derive(Clone, Copy, Debug)]
struct Type {
    kind: Kind,
    is_typedef: bool,
    name: u32,
    /// Size or type id, by kind.
    size_or_id: u32,
    vlen: u16,
    /// `kind_flag`: members carry bit-field sizes.
    flag: bool,
    /// Where the kind's own data starts.
    data: usize,
}

/// Parsed BTF.
pub struct Btf<'a> {
    order: ByteOrder,
    types: &'a [u8],
    strings: &'a [u8],
    table: Vec<Type>,
    by_name: HashMap<&'a [u8], Vec<u32>>,
}

impl<'a> Btf<'a> {
    /// Reads the blob, e.g. of /sys/kernel/btf/vmlinux.
    pub fn parse(blob: &'a [u8]) -> Result<Self, BtfError> {
        let order = ByteOrder::of(blob.get(..2))?;
        let word = |at| order.word(blob, at);
        let header_len = word(4)? as usize;
        let section = |offset: usize| -> Result<&'a [u8], BtfError> {
            let start = header_len.saturating_add(word(offset)? as usize);
            let end = start.saturating_add(word(offset + 4)? as usize);
            blob.get(start..end).ok_or(BtfError::Truncated(end))
        };
        if header_len < HEADER_LEN {
            return Err(BtfError::Truncated(header_len));
        }
        let (types, strings) = (section(8)?, section(16)?);
        let mut btf = Self { order, types, strings, table: vec![VOID], by_name: HashMap::new() };
        btf.index()?;
        Ok(btf)
    }

    fn index(&mut self) -> Result<(), BtfError> {
        let mut at = 0;
        while at < self.types.len() {
            let (read, next) = self.read_type(at)?;
            let id = self.table.len() as u32;
            self.table.push(read);
            let name = self.string(read.name);
            if !name.is_empty() {
                self.by_name.entry(name).or_default().push(id);
            }
            at = next;
        }
        Ok(())
    }

    fn read_type(&self, at: usize) -> Result<(Type, usize), BtfError> {
        let info = self.word(at + 4)?;
        let (number, vlen) = ((info >> 24) & 0x1f, info & 0xffff);
        let Some((kind, extra)) = kind_of(number, vlen as usize) else {
            return Err(BtfError::Kind { kind: number, id: self.table.len() });
        };
        let read = Type {
            kind,
            is_typedef: number == 8,
            name: self.word(at)?,
            size_or_id: self.word(at + 8)?,
            vlen: vlen as u16,
            flag: info >> 31 != 0,
            data: at + 12,
        };
        let next = at + 12 + extra;
        if next > self.types.len() {
            return Err(BtfError::Truncated(next));
        }
        Ok((read, next))
    }

    /// The order of the machine that the kernel is for.
    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// The word at `at` of the types.
    fn word(&self, at: usize) -> Result<u32, BtfError> {
        self.order.word(self.types, at)
    }

    fn string(&self, offset: u32) -> &'a [u8] {
        let tail = self.strings.get(offset as usize..).unwrap_or_default();
        let end = tail.iter().position(|&byte| byte == 0).unwrap_or(tail.len());
        &tail[..end]
    }

    fn named(&self, name: &str, want: impl Fn(&Type) -> bool) -> Option<Type> {
        let ids = self.by_name.get(name.as_bytes())?;
        ids.iter().filter_map(|&id| self.table.get(id as usize)).copied().find(want)
    }

    /// Where `path` (C spelling, unnamed members looked through) is in `struct base`.
    pub fn member(&self, base: &str, path: &str) -> Option<Member> {
        let mut composite = self.named(base, |read| read.kind == Kind::Composite)?;
        let mut found = Member { bit_offset: 0, bit_size: 0, size: None };
        let mut steps = path.split('.').peekable();
        while let Some(step) = steps.next() {
            let (member, id) = self.find_member(composite, step, 0)?;
            found = Member {
                bit_offset: found.bit_offset.checked_add(member.bit_offset)?,
                bit_size: member.bit_size,
                size: self.size_of_type(id, 0),
            };
            if steps.peek().is_some() {
                composite = self.resolve(id)?;
            }
        }
        Some(found)
    }

    /// A named member of `composite`, or of an unnamed member of it, whose type may well have a tag
    /// (`union { struct slock_owned { int owned; }; }` in 7.1+).
    fn find_member(&self, composite: Type, name: &str, depth: usize) -> Option<(Member, u32)> {
        if composite.kind != Kind::Composite || depth > MAX_DEPTH {
            return None;
        }
        (0..usize::from(composite.vlen)).find_map(|index| {
            let (own, member, id) = self.member_at(composite, index)?;
            if own == name.as_bytes() {
                return Some((member, id));
            }
            if !own.is_empty() {
                return None;
            }
            let (inner, id) = self.find_member(self.resolve(id)?, name, depth + 1)?;
            let bit_offset = member.bit_offset.checked_add(inner.bit_offset)?;
            Some((Member { bit_offset, ..inner }, id))
        })
    }

    fn member_at(&self, composite: Type, index: usize) -> Option<(&'a [u8], Member, u32)> {
        let at = composite.data + index * 12;
        let name = self.word(at).ok()?;
        let id = self.word(at + 4).ok()?;
        let offset = self.word(at + 8).ok()?;
        let member = if composite.flag {
            Member { bit_offset: offset & 0x00ff_ffff, bit_size: offset >> 24, size: None }
        } else {
            Member { bit_offset: offset, bit_size: 0, size: None }
        };
        Some((self.string(name), member, id))
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<Type> {
        for _ in 0..MAX_DEPTH {
            let read = *self.table.get(id as usize)?;
            if read.kind != Kind::Alias {
                return Some(read);
            }
            id = read.size_or_id;
        }
        None
    }

    /// Name and value of each member of `enum name`.
    pub fn enum_values(&self, name: &str) -> Option<Vec<(String, i32)>> {
        let found = self.named(name, |read| matches!(read.kind, Kind::Enum | Kind::Enum64))?;
        let step = if found.kind == Kind::Enum { 8 } else { 12 };
        (0..usize::from(found.vlen))
            .map(|index| {
                let at = found.data + index * step;
                let name = self.string(self.word(at).ok()?);
                let value = self.word(at + 4).ok()? as i32;
                Some((String::from_utf8_lossy(name).into_owned(), value))
            })
            .collect()
    }

    /// Arguments of a tracepoint as a program sees them (`btf_trace_<name>` less the probe's data
    /// pointer); `None` if the kernel has no such tracepoint.
    pub fn tracepoint_args(&self, name: &str) -> Option<usize> {
        let typedef = self.named(&format!("btf_trace_{name}"), |read| read.is_typedef)?;
        let pointer = self.resolve(typedef.size_or_id)?;
        let proto = (pointer.kind == Kind::Pointer).then(|| self.resolve(pointer.size_or_id))??;
        (proto.kind == Kind::FuncProto).then(|| usize::from(proto.vlen).checked_sub(1))?
    }

    /// How many parameters the function `name` has.
    pub fn function_args(&self, name: &str) -> Option<usize> {
        let function = self.named(name, |read| read.kind == Kind::Func)?;
        let proto = self.resolve(function.size_or_id)?;
        (proto.kind == Kind::FuncProto).then_some(proto.vlen.into())
    }

    fn size_of_type(&self, id: u32, depth: usize) -> Option<u32> {
        let read = self.resolve(id).filter(|_| depth < MAX_DEPTH)?;
        match read.kind {
            Kind::Pointer => Some(8),
            Kind::Array => {
                let element = self.size_of_type(self.word(read.data).ok()?, depth + 1)?;
                element.checked_mul(self.word(read.data + 8).ok()?)
            }
            Kind::Composite | Kind::Enum | Kind::Enum64 | Kind::Other => Some(read.size_or_id),
            Kind::Alias | Kind::Func | Kind::FuncProto => None,
        }
    }

    /// Size of a structure, bytes.
    pub fn size_of(&self, name: &str) -> Option<u32> {
        self.named(name, |read| read.kind == Kind::Composite).map(|read| read.size_or_id)
    }

    /// Whether the enum member `value` of `enum name` exists, e.g. of `bpf_func_id`.
    pub fn has_enum_value(&self, name: &str, value: &str) -> bool {
        self.enum_values(name).is_some_and(|values| values.iter().any(|(name, _)| name == value))
    }

    /// Whether the kernel has the function, e.g. the one that does a helper's work.
    pub fn has_function(&self, name: &str) -> bool {
        self.named(name, |read| read.kind == Kind::Func).is_some()
    }
}

#[cfg(test)]
impl Btf<'_> {
    /// Name, byte offset and size of each member of `struct name`.
    pub fn members(&self, name: &str) -> Option<Vec<(String, u32, u32)>> {
        let composite = self.named(name, |read| read.kind == Kind::Composite)?;
        (0..usize::from(composite.vlen))
            .map(|index| {
                let (name, member, id) = self.member_at(composite, index)?;
                let name = String::from_utf8_lossy(name).into_owned();
                Some((name, member.bit_offset / 8, self.size_of_type(id, 0)?))
            })
            .collect()
    }
}

const VOID: Type =
    Type { kind: Kind::Other, is_typedef: false, name: 0, size_or_id: 0, vlen: 0, flag: false, data: 0 };

/// The kind, and how many bytes follow the common part (include/uapi/linux/btf.h).
fn kind_of(number: u32, vlen: usize) -> Option<(Kind, usize)> {
    Some(match number {
        1 | 14 | 17 => (Kind::Other, 4),       // INT, VAR, DECL_TAG
        2 => (Kind::Pointer, 0),               // PTR
        3 => (Kind::Array, 12),                // ARRAY
        4 | 5 => (Kind::Composite, vlen * 12), // STRUCT, UNION
        6 => (Kind::Enum, vlen * 8),           // ENUM
        7 | 16 => (Kind::Other, 0),            // FWD, FLOAT
        12 => (Kind::Func, 0),                 // FUNC
        8..=11 | 18 => (Kind::Alias, 0),       // TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG
        13 => (Kind::FuncProto, vlen * 8),     // FUNC_PROTO
        15 => (Kind::Other, vlen * 12),        // DATASEC
        19 => (Kind::Enum64, vlen * 12),       // ENUM64
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_what_is_no_btf() {
        assert_eq!(Btf::parse(b"").err(), Some(BtfError::Magic));
        assert_eq!(Btf::parse(&MAGIC.to_le_bytes()).err(), Some(BtfError::Truncated(8)));
        assert_eq!(Btf::parse(&MAGIC.to_be_bytes()).err(), Some(BtfError::Truncated(8)));
    }

    #[test]
    fn survives_any_truncation_of_a_real_blob() {
        let blob = include_bytes!("../../../tests/data/btf/x86_64-6.12.117+deb12-cloud-amd64.btf");
        for len in (0..blob.len()).step_by(blob.len() / 97) {
            assert!(Btf::parse(&blob[..len]).is_err(), "{len} bytes were taken");
        }
    }
}
