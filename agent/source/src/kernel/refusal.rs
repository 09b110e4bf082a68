//! A program that the kernel refused, in few words.

use std::io;

use aya::programs::ProgramError;

/// Lines kept of the verifier's log: the instruction and what is wrong with it.
const LAST_LINES: usize = 2;

/// What the verifier adds about its own work, after the complaint.
const STATISTICS: [&str; 6] = [
    "processed ",
    "verification time ",
    "stack depth ",
    "max_states_per_insn ",
    "peak_states ",
    "insns processed ",
];

/// The kernel's answer and, where the verifier gave a reason, the end of its log, on one line. The log whole
/// is thousands of lines.
pub fn words(error: &anyhow::Error) -> String {
    match error.downcast_ref::<ProgramError>() {
        Some(ProgramError::LoadError { io_error, verifier_log }) => {
            shortened(io_error, &verifier_log.to_string())
        }
        _ => format!("{error:#}"),
    }
}

fn shortened(answer: &io::Error, log: &str) -> String {
    match last_lines(log).as_slice() {
        [] => answer.to_string(),
        lines => format!("{answer}: {}", lines.join(": ")),
    }
}

/// Whether the kernel refused before it looked at the program: privileges are missing. The verifier too says
/// EPERM or EACCES, but never without a log.
pub fn is_privilege(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ProgramError>() {
        Some(ProgramError::LoadError { io_error, verifier_log }) => {
            is_unexplained(io_error, &verifier_log.to_string())
        }
        Some(ProgramError::SyscallError(error)) => is_unexplained(&error.io_error, ""),
        _ => false,
    }
}

fn is_unexplained(answer: &io::Error, log: &str) -> bool {
    answer.kind() == io::ErrorKind::PermissionDenied && last_lines(log).is_empty()
}

fn last_lines(log: &str) -> Vec<&str> {
    let is_statistics = |line: &&str| STATISTICS.iter().any(|start| line.starts_with(start));
    // A NUL ends the kernel's text; comments name the source line of an instruction.
    let lines = log.lines().map(|line| line.trim_matches(['\0', ' ', '\t', '`']));
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(';') && !is_statistics(line));
    let lines: Vec<_> = lines.collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
0: R1=ctx() R10=fp0
; let sk = ctx.arg(0); @ tcp.rs:40
0: (79) r6 = *(u64 *)(r1 +0)          ; R1=ctx() R6_w=trusted_ptr_sock()
1: (69) r2 = *(u16 *)(r6 +65535)
access beyond struct sock at off 65535 size 2
verification time 120 usec
stack depth 0
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
\0";

    fn answer(errno: i32) -> io::Error {
        io::Error::from_raw_os_error(errno)
    }

    #[test]
    fn a_long_log_ends_in_its_complaint() {
        let log = format!("{}{LOG}", "7: (bf) r1 = r2\n".repeat(5000));
        assert_eq!(
            shortened(&answer(libc::EACCES), &log),
            "Permission denied (os error 13): 1: (69) r2 = *(u16 *)(r6 +65535): \
             access beyond struct sock at off 65535 size 2"
        );
    }

    #[test]
    fn only_a_refusal_without_a_log_is_about_privileges() {
        assert!(is_unexplained(&answer(libc::EPERM), "\0"));
        assert!(!is_unexplained(&answer(libc::EACCES), LOG));
        assert!(!is_unexplained(&answer(libc::EINVAL), ""));
        assert_eq!(shortened(&answer(libc::EPERM), "\0"), "Operation not permitted (os error 1)");
    }
}
