//! The registers of the virtio transport.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = vmm::fuzzing::transport(bytes) {
        panic!("the host fails: {error}");
    }
});
