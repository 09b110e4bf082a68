//! BTF of kernels out of their images, for machines too that cannot be booted here.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::kernel::{Kernel, Kernels};
use super::release::{AMD64, ARM64, LATEST, Machine, S390X};
use super::{LINES, dir};
use crate::report;

/// Lines of the machines that cannot be booted here: a long-term one and the newest; of s390x that one alone, for its
/// byte order.
const OTHERS: [(Machine, &[&str]); 2] = [(ARM64, &["6.12", LATEST]), (S390X, &["6.12"])];

/// Puts the BTF of each line's newest kernel into `folder` as `ARCH-RELEASE.btf`. Those that cannot be had, and why.
pub fn unpack(folder: &Path) -> Result<Vec<String>> {
    let mut absent = unpack_of(AMD64, &LINES, &dir(), folder)?;
    for (machine, lines) in OTHERS {
        absent.extend(unpack_of(machine, lines, &dir().join(machine.debian), folder)?);
    }
    Ok(absent)
}

fn unpack_of(machine: Machine, lines: &[&str], dir: &Path, folder: &Path) -> Result<Vec<String>> {
    let mut kernels = Kernels::open(dir, machine)?;
    let mut absent = Vec::new();
    for line in lines {
        match kernels.get(line) {
            Ok(kernel) => store(&kernel, machine, folder)?,
            Err(error) => absent.push(format!("Linux {line} for {}: {error:#}", machine.debian)),
        }
    }
    Ok(absent)
}

fn store(kernel: &Kernel, machine: Machine, folder: &Path) -> Result<()> {
    let name = format!("{}-{}.btf", machine.name, kernel.release);
    report::status("Unpacking", &name);
    let image = fs::read(kernel.image()?).with_context(|| format!("read the image of {name}"))?;
    let blob = of_image(&image, folder)?.with_context(|| format!("find {name} in the kernel's image"))?;
    fs::write(folder.join(&name), blob).with_context(|| format!("write {name}"))
}

/// How images are packed: the first bytes of what is packed, and what unpacks it.
const PACKED: [(&[u8], Unpack); 4] = [
    (b"\x02\x21\x4c\x18", Unpack::Lz4),
    (b"\xfd7zXZ\0", Unpack::Program(&["xz", "-dc"])),
    (b"\x28\xb5\x2f\xfd", Unpack::Program(&["zstd", "-dcq"])),
    (b"\x1f\x8b\x08", Unpack::Program(&["gzip", "-dc"])),
];

#[derive(Clone, Copy)]
enum Unpack {
    /// The kernel's own frame of LZ4 blocks.
    Lz4,
    /// From its standard input to its standard output.
    Program(&'static [&'static str]),
}

/// The BTF of an image: a program that unpacks itself, with the kernel somewhere in it.
fn of_image(image: &[u8], folder: &Path) -> Result<Option<Vec<u8>>> {
    if let Some(blob) = largest(image) {
        return Ok(Some(blob.to_vec()));
    }
    for (magic, how) in PACKED {
        for at in places(image, magic) {
            let kernel = match how {
                Unpack::Lz4 => lz4(&image[at + magic.len()..]),
                Unpack::Program(program) => unpacked(&image[at..], program, folder)?,
            };
            if let Some(blob) = largest(&kernel) {
                return Ok(Some(blob.to_vec()));
            }
        }
    }
    Ok(None)
}

/// What a block of the kernel's frame unpacks to at most ("legacy frame" of LZ4's format).
const LZ4_BLOCK: usize = 8 << 20;

/// As much as comes out: nothing marks the end of the blocks, each its length and its bytes.
fn lz4(mut packed: &[u8]) -> Vec<u8> {
    let (mut bytes, mut block) = (Vec::new(), vec![0; LZ4_BLOCK]);
    while let Some((length, rest)) = packed.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        let unpacked = rest.get(..length).map(|packed| lz4_flex::block::decompress_into(packed, &mut block));
        let Some(Ok(size)) = unpacked else { break };
        bytes.extend(&block[..size]);
        packed = &rest[length..];
    }
    bytes
}

/// As much as comes out: what follows the kernel in its image makes every program complain at the end.
fn unpacked(packed: &[u8], program: &[&str], folder: &Path) -> Result<Vec<u8>> {
    let file = folder.join("packed");
    fs::write(&file, packed).with_context(|| format!("write {}", file.display()))?;
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).stdin(File::open(&file)?).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("start {}", program[0]))?;
    let mut bytes = Vec::new();
    child.stdout.take().context("its output")?.read_to_end(&mut bytes)?;
    child.wait()?;
    fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
    Ok(bytes)
}

fn places<'a>(bytes: &'a [u8], part: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    bytes.windows(part.len()).enumerate().filter(move |(_, window)| *window == part).map(|(at, _)| at)
}

/// The kernel's own is the largest: tools built into it have some too.
fn largest(bytes: &[u8]) -> Option<&[u8]> {
    let little = places(bytes, b"\x9f\xeb\x01\0").filter_map(|at| blob(&bytes[at..], u32::from_le_bytes));
    let big = places(bytes, b"\xeb\x9f\x01\0").filter_map(|at| blob(&bytes[at..], u32::from_be_bytes));
    little.chain(big).max_by_key(|blob| blob.len())
}

/// The blob at the beginning, if its header (`struct btf_header`) makes sense.
fn blob(bytes: &[u8], number: fn([u8; 4]) -> u32) -> Option<&[u8]> {
    let field = |at: usize| Some(number(*bytes.get(at..)?.first_chunk()?) as usize);
    let (header, types, types_len) = (field(4)?, field(8)?, field(12)?);
    let (strings, strings_len) = (field(16)?, field(20)?);
    let end = header.checked_add(strings)?.checked_add(strings_len)?;
    let is_btf = (24..=64).contains(&header) && types == 0 && types_len > 0 && strings >= types_len;
    let blob = bytes.get(..end).filter(|_| is_btf)?;
    let text = &blob[header + strings..];
    (text.first() == Some(&0) && text.last() == Some(&0)).then_some(blob)
}

#[cfg(test)]
mod tests {
    use super::largest;

    fn blob(types: u8) -> Vec<u8> {
        let mut blob =
            vec![0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0, types, 0, 0, 0, types, 0, 0, 0, 3, 0, 0, 0];
        blob.extend(vec![7; usize::from(types)]);
        blob.extend(b"\0a\0");
        blob
    }

    #[test]
    fn the_largest_blob_that_makes_sense_is_the_kernels() {
        let broken = [0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0];
        let image = [&b"boot"[..], &blob(4), &blob(8), b"more", &broken].concat();
        assert_eq!(largest(&image), Some(&*blob(8)));
        assert_eq!(largest(b"no BTF here"), None);
    }
}
