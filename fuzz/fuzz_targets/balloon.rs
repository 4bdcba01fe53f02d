//! The balloon device.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = vmm::fuzzing::balloon(bytes) {
        panic!("the host fails: {error}");
    }
});
