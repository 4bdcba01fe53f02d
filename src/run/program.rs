//! The program's own pages.

use std::ptr;

use rustix::mm::{Advice, madvise};

unsafe extern "C" {
    /// Where the program begins in memory, and where its code ends: names that the linker makes.
    static __executable_start: u8;
    static etext: u8;
}

const PAGE: usize = 4096;

/// Lets go of the program's code and constants. Every page of them that was used, and those around it, would
/// have to be unmapped at the process's end, one by one, while somebody waits for that; the few that are used
/// until then come back from the host's cache.
pub fn let_go() {
    let start = ptr::addr_of!(__executable_start);
    let size = (ptr::addr_of!(etext).addr() - start.addr()) / PAGE * PAGE;
    // SAFETY: up to the end of the code, the program is a private mapping of its file which nothing writes
    // to: what is read of it again is the same.
    let _ = unsafe { madvise(start.cast_mut().cast(), size, Advice::LinuxDontNeed) };
}
