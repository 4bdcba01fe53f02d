//! The guest's program, as the architecture has it: assembled into this program's read-only data.

unsafe extern "C" {
    static terrarium_self_test_start: u8;
    static terrarium_self_test_end: u8;
}

/// Its bytes, which run wherever they are.
pub(crate) fn program() -> &'static [u8] {
    let start = &raw const terrarium_self_test_start;
    let length = (&raw const terrarium_self_test_end).addr() - start.addr();
    // SAFETY: both symbols are of one read-only section of this program, the second after the first.
    unsafe { std::slice::from_raw_parts(start, length) }
}
