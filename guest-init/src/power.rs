//! The end of the machine.

use rustix::system::{RebootCommand, reboot};

/// Powers the machine off, or resets it where it has no power switch. A backend takes both as
/// the end. Nothing is synced: what the guest has written is lost with it.
pub(crate) fn off() -> ! {
    let _ = reboot(RebootCommand::PowerOff);
    let _ = reboot(RebootCommand::Restart);
    // Neither is possible: the kernel panics as PID 1 ends, which stops the machine with `panic=-1`.
    std::process::exit(1)
}
