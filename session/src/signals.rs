//! Signals of this process, as something that `poll(2)` can wait for.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::ptr;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// What a user's shell or supervisor sends to end a program.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
const CAUGHT: [i32; 7] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH];

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// The terminal's size changed.
    WindowChanged,
    /// A signal that asks the program to end.
    End(u8),
    /// Any other, for the guest's command to handle.
    Other(u8),
}

/// Catches signals from its making until it is dropped.
#[derive(Debug)]
pub struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
}

impl Signals {
    /// Catches what the guest's command is to be told, and what ends a run.
    ///
    /// # Errors
    /// If the system refuses a socket or a handler.
    pub fn catch() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        // Under nohup, the terminal's end is not the program's.
        let caught = CAUGHT
            .into_iter()
            .filter(|&signal| signal != SIGHUP || !is_ignored(signal));
        Ok(Self {
            delivery: SignalDelivery::with_pipe(read, write, SignalOnly, caught)?,
        })
    }

    /// Readable when [`take`](Self::take) has something.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }

    pub(crate) fn take(&mut self) -> Vec<Arrived> {
        let pending = self.delivery.pending();
        pending
            .filter_map(|signal| {
                let number = u8::try_from(signal).ok()?;
                Some(match signal {
                    SIGWINCH => Arrived::WindowChanged,
                    _ if ENDING.contains(&signal) => Arrived::End(number),
                    _ => Arrived::Other(number),
                })
            })
            .collect()
    }
}

/// Whether this process was told to ignore a signal, as `nohup` does with SIGHUP.
#[must_use]
pub fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::uninit();
    // SAFETY: without a new action this only asks for the present one, which it fills in.
    let result = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: it is filled in, unless the signal does not exist.
    result == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}
