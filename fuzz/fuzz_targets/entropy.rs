//! The entropy device.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = vmm::fuzzing::entropy(bytes) {
        panic!("the host fails: {error}");
    }
});
