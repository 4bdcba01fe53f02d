//! The console device and its ports.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = vmm::fuzzing::console(bytes) {
        panic!("the host fails: {error}");
    }
});
