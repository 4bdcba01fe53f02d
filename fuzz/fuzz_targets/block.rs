//! The block device, in all its forms.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = vmm::fuzzing::block(bytes) {
        panic!("the host fails: {error}");
    }
});
