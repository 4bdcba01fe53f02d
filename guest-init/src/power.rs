//! The end of the machine.

use rustix::system::{RebootCommand, reboot};

/// Ends the machine. Nothing is synced: what the guest has written is lost with it.
///
/// By a reset, which a machine takes as its end: every kernel can do that, whereas one that finds no
/// power switch halts for ever when told to power off.
pub(crate) fn off() -> ! {
    let _ = reboot(RebootCommand::Restart);
    // Refused: the kernel panics as PID 1 ends, which resets the machine with `panic=-1`.
    std::process::exit(1)
}
