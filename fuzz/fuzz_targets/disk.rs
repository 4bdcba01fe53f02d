//! Disks made of layers.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = images::fuzzing::disk(bytes) {
        panic!("the host fails: {error}");
    }
});
