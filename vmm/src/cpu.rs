//! What the host's CPU can do for guests.

/// The execution domain of a 32-bit machine (the kernel's `include/uapi/linux/personality.h`).
const PER_LINUX32: libc::c_ulong = 8;
/// Asks for the execution domain and leaves it.
const QUERY: libc::c_ulong = 0xffff_ffff;

/// Whether the host's CPU has the 32-bit mode of its architecture for programs, which guests have then,
/// too. ARM's newer server CPUs have none. Kernels of arm64 refuse the execution domain of a 32-bit
/// machine on such a CPU; those of x86_64 never do.
pub fn has_32_bit_mode() -> bool {
    // SAFETY: personality(2) takes a number and touches no memory of this process.
    let personality = |domain| unsafe { libc::personality(domain) };
    let before = personality(QUERY);
    let possible = personality(PER_LINUX32) >= 0;
    if let Ok(before) = before.try_into() {
        // It was this thread's before, so it is no less possible now.
        personality(before);
    }
    possible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_changes_nothing() {
        // SAFETY: as above.
        let query = || unsafe { libc::personality(QUERY) };
        let before = query();
        let first = has_32_bit_mode();
        assert_eq!(has_32_bit_mode(), first);
        assert_eq!(query(), before);
    }
}
