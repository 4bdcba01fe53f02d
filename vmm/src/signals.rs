//! Signals of this crate's threads.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Blocks all signals for the calling thread: they are for the program's own threads.
pub(crate) fn block_all() -> io::Result<()> {
    let mut all = MaybeUninit::uninit();
    // SAFETY: sigfillset initializes the set it is given.
    let result = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), ptr::null_mut())
    };
    match result {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
