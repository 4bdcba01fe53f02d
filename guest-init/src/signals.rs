//! SIGCHLD as something to wait for, and the reaping of children.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

use guest_init::control::ExitStatus;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

use crate::failure::{Context, Failure};

/// Blocks SIGCHLD and returns a descriptor that is readable when one is pending.
pub(crate) fn child_signals() -> Result<OwnedFd, Failure> {
    open().context(|| "Listen for ended processes".to_owned())
}

fn open() -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset makes `set` a valid set, the others use it while it lives.
    let descriptor = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: signalfd returned this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Blocks no signal: what a new program expects, which inherits this.
pub(crate) fn unblock_all() {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset makes `set` a valid set, and sigprocmask reads it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), ptr::null_mut());
    }
}

/// Reaps every process that has ended since the last time. Returns how `command` did, if it was among
/// them.
pub(crate) fn reap(signals: &OwnedFd, command: Option<Pid>) -> Option<ExitStatus> {
    let mut pending = [0; size_of::<libc::signalfd_siginfo>()];
    if rustix::io::read(signals, &mut pending).is_err() {
        return None;
    }
    let mut ended = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if Some(pid) == command => ended = exit_status(status),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return ended,
        }
    }
}

fn exit_status(status: WaitStatus) -> Option<ExitStatus> {
    let byte = |number: i32| u8::try_from(number).ok();
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => byte(code).map(ExitStatus::Code),
        (None, Some(signal)) => byte(signal).map(ExitStatus::Signal),
        (None, None) => None,
    }
}

/// Sends a signal, by its Linux number, to all of a process group. One that has ended or a number that
/// is no signal is nothing to complain of.
pub(crate) fn send_to_group(leader: Pid, number: u8) {
    // SAFETY: kill has no effect on this process: the group is not its own.
    unsafe { libc::kill(-leader.as_raw_pid(), i32::from(number)) };
}
