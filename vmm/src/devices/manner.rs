//! How the devices' thread waits for a CPU that it shares with the guest.

use std::io;

/// Wake-ups in a row for patient devices alone that make the thread patient.
const ROW: u8 = 16;

/// Whether the thread interrupts whoever runs on its CPU when it has something to do.
///
/// On a CPU of its own there is no difference. Where it shares one with a vCPU, interrupting serves each request
/// at once, and stops the guest before it makes the next one. A guest that waits for a disk sleeps, and others of
/// its programs go on: for it, it is better to begin when the guest waits, and to do together, with one
/// interrupt, all that it asked for by then. A console's driver waits in a loop: its requests must not lie.
#[derive(Debug, Default)]
pub(super) struct Manner {
    row: u8,
}

impl Manner {
    /// The thread woke up, for patient devices alone or not.
    pub(super) fn woken(&mut self, for_patient_ones: bool) {
        let was_patient = self.row == ROW;
        self.row = if for_patient_ones {
            ROW.min(self.row + 1)
        } else {
            0
        };
        // A host that refuses has a slower disk.
        let _ = match (was_patient, self.row == ROW) {
            (false, true) => schedule(libc::SCHED_BATCH),
            (true, false) => schedule(libc::SCHED_OTHER),
            _ => Ok(()),
        };
    }
}

/// Chooses the calling thread's way to wait for a CPU (sched(7)).
fn schedule(policy: libc::c_int) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads the parameters and changes how the calling thread is scheduled.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> libc::c_int {
        // SAFETY: the call only reads how the calling thread is scheduled.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[test]
    fn many_requests_of_disks_alone_are_done_together() {
        let mut manner = Manner::default();
        let ordinary = policy();
        for _ in 1..ROW {
            manner.woken(true);
            assert_eq!(policy(), ordinary);
        }
        for _ in 0..300 {
            manner.woken(true);
            assert_eq!(policy(), libc::SCHED_BATCH);
        }
        manner.woken(false);
        assert_eq!(policy(), libc::SCHED_OTHER);
        manner.woken(true);
        assert_eq!(policy(), libc::SCHED_OTHER);
    }
}
