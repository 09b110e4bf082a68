//! Fills `agent_common::layout` from the running kernel's BTF.

use agent_common::layout::{ABSENT, BITS, Bits, Field, Kernel, Layout, OFFSETS};
use agent_model::drops::{self, Class};
use thiserror::Error;

use super::btf::{Btf, ByteOrder, Member};

/// A field without which no program can run.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("this kernel's BTF lacks {base}.{path}")]
pub struct MissingField {
    base: &'static str,
    path: &'static str,
}

/// What the programs must know about this kernel.
pub fn resolve(btf: &Btf<'_>) -> Result<Kernel, MissingField> {
    let mut layout = Layout::ABSENT;
    for field in OFFSETS {
        if let Some(slot) = layout.offset_mut(field.name) {
            let member = btf.member(field.base, field.path);
            let offset = member.and_then(|member| whole_bytes(member, field, btf.order()));
            *slot = found(field, offset)?.unwrap_or(ABSENT);
        }
    }
    for field in BITS {
        let member = btf.member(field.base, field.path);
        let bits = found(field, member.and_then(|member| inside_a_byte(member, btf.order())))?;
        if let (Some(slot), Some(bits)) = (layout.bits_mut(field.name), bits) {
            *slot = bits;
        }
    }
    Ok(Kernel {
        layout,
        retransmit_err: u8::from(btf.tracepoint_args("tcp_retransmit_skb") > Some(2)),
        reset_reason: u8::from(btf.tracepoint_args("tcp_send_reset") > Some(2)),
        socket_cookie: u8::from(has_socket_cookie(btf)),
        drop_socket: u8::from(btf.tracepoint_args("kfree_skb") > Some(3)),
        reserved: [0; 3],
        drop_unspecified: unspecified(btf),
        drop_memory: reasons_of(btf, Class::Shortage),
        drop_noise: reasons_of(btf, Class::Noise),
    })
}

/// The kernel numbers its reasons anew with nearly every release.
fn reasons_of(btf: &Btf<'_>, class: Class) -> [u32; 6] {
    let mut bits = [0; 6];
    let reasons = super::facts::drop_reasons(btf).into_iter();
    for (number, _) in reasons.filter(|(_, name)| drops::class(name) == class) {
        if let Ok(number) = usize::try_from(number)
            && let Some(word) = bits.get_mut(number / 32)
        {
            *word |= 1 << (number % 32);
        }
    }
    bits
}

fn unspecified(btf: &Btf<'_>) -> u8 {
    let reasons = super::facts::drop_reasons(btf);
    let number = reasons.iter().find(|(_, name)| &***name == drops::UNSPECIFIED).map(|(number, _)| *number);
    number.and_then(|number| number.try_into().ok()).unwrap_or(0)
}

fn found<T>(field: &Field, value: Option<T>) -> Result<Option<T>, MissingField> {
    if value.is_none() && field.required {
        return Err(MissingField { base: field.base, path: field.path });
    }
    Ok(value)
}

fn whole_bytes(member: Member, field: &Field, order: ByteOrder) -> Option<u16> {
    let low_byte = match order {
        ByteOrder::Big if field.low_byte => member.size?.checked_sub(1)?,
        ByteOrder::Big | ByteOrder::Little => 0,
    };
    let offset = u16::try_from((member.bit_offset / 8).checked_add(low_byte)?).ok()?;
    (member.bit_offset.is_multiple_of(8) && member.bit_size == 0 && offset != ABSENT).then_some(offset)
}

fn inside_a_byte(member: Member, order: ByteOrder) -> Option<Bits> {
    let first = (member.bit_offset % 8) as u8;
    let width = if member.bit_size == 0 { 8 } else { u8::try_from(member.bit_size).ok()? };
    let offset = u16::try_from(member.bit_offset / 8).ok()?;
    let rest = 8u8.checked_sub(first.checked_add(width)?)?;
    let shift = match order {
        ByteOrder::Little => first,
        ByteOrder::Big => rest,
    };
    Some(Bits { offset, shift, width })
}

/// The helper is as old as 4.12, but tracing programs may call it since 5.12, with a function of its own for
/// them (`bpf_get_socket_ptr_cookie`, net/core/filter.c). The helpers' numbers are the same for both.
fn has_socket_cookie(btf: &Btf<'_>) -> bool {
    btf.has_function("bpf_get_socket_ptr_cookie")
}

#[cfg(test)]
mod tests;
