//! Alpine packages.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = kernels::fuzzing::apk(bytes) {
        panic!("the host fails: {error}");
    }
});
