//! Programs that do nothing, on the hooks that matter for the cost: what `cargo xtask bench` divides by.
//!
//! An object of its own, so that nothing of it is in the agent. Named like the programs that work.
#![no_std]
#![no_main]

/// Private, as the hooks that they stand beside: what is exported is the section.
mod hooks {
    use aya_ebpf::macros::btf_tracepoint;
    use aya_ebpf::programs::BtfTracePointContext;

    /// Beside `hooks::tcp::retransmit`.
    #[btf_tracepoint(function = "tcp_retransmit_skb")]
    pub fn retransmit(_ctx: BtfTracePointContext) -> i32 {
        0
    }

    /// Beside `hooks::tcp::reset_sent`.
    #[btf_tracepoint(function = "tcp_send_reset")]
    pub fn reset_sent(_ctx: BtfTracePointContext) -> i32 {
        0
    }

    /// Beside `hooks::tcp::reset_received`.
    #[btf_tracepoint(function = "tcp_receive_reset")]
    pub fn reset_received(_ctx: BtfTracePointContext) -> i32 {
        0
    }

    /// Beside `hooks::inet::state_changed`.
    #[btf_tracepoint(function = "inet_sock_set_state")]
    pub fn state_changed(_ctx: BtfTracePointContext) -> i32 {
        0
    }

    /// Beside `hooks::sched::process_forked`.
    #[btf_tracepoint(function = "sched_process_fork")]
    pub fn process_forked(_ctx: BtfTracePointContext) -> i32 {
        0
    }

    /// Beside `hooks::sched::process_exited`.
    #[btf_tracepoint(function = "sched_process_exit")]
    pub fn process_exited(_ctx: BtfTracePointContext) -> i32 {
        0
    }

    /// Beside `hooks::skb::packet_dropped`.
    #[btf_tracepoint(function = "kfree_skb")]
    pub fn packet_dropped(_ctx: BtfTracePointContext) -> i32 {
        0
    }

    /// Beside `hooks::inet::sock_destroyed`.
    #[btf_tracepoint(function = "tcp_destroy_sock")]
    pub fn sock_destroyed(_ctx: BtfTracePointContext) -> i32 {
        0
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: nothing above can panic.
    unsafe { core::hint::unreachable_unchecked() }
}

/// As the programs that work.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
