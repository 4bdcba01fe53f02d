//! Loading a kernel into guest memory.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = vmm::fuzzing::kernel(bytes) {
        panic!("the host fails: {error}");
    }
});
